"""Whether photos of different scenes are refused: phone photos crossed with DSLR photos.

Every phone photo is paired with DSLR photos of other scenes, spread evenly over the folder, or with
all of them. The keypoints of a photo are found once and kept; everything else is done for each
pair anew.

    python benchmarks/mismatches.py PHONE DSLR             # all cross pairs
    python benchmarks/mismatches.py PHOTOS PHOTOS --one-scene 01,02,03
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align import features
from dpedkit.align.config import AlignConfig
from dpedkit.align.pair import Alignment, find_alignment
from dpedkit.core.parallel import ordered_map
from dpedkit.images import list_photos, read_photo

Files = tuple[Path, Path]

_NUMBER = re.compile(r"\d+(\.\d+)?")


def crossed(
    phone: list[Path], dslr: list[Path], each: int, one_scene: frozenset[str]
) -> Iterator[Files]:
    """Pairs whose names differ, but for those of photos that show one scene."""
    for row, first in enumerate(phone):
        same = one_scene if first.stem in one_scene else {first.stem}
        others = [second for second in dslr if second.stem not in same]
        count = each or len(others)
        picked = (np.arange(count) * len(others) / count + row).astype(int) % len(others)
        for number in sorted(set(picked.tolist())):
            yield first, others[number]


def verdict(megapixels: float, files: Files) -> Alignment:
    """Align two photos, reduced to at most this size."""
    if not hasattr(features.describe, "found"):
        features.describe = remembering(features.describe)
        # Kept by an imported module: a cached function of a script cannot be sent to workers.
        features.small_photo = cache(small_photo)  # type: ignore[attr-defined]
    first, second = (features.small_photo(file, megapixels) for file in files)  # type: ignore[attr-defined]
    return find_alignment(first, second, AlignConfig())


def remembering(describe: Callable) -> Callable:
    """A function of a detector and an image that finds the same keypoints only once."""
    found: dict[bytes, tuple] = {}

    def described(detector: cv2.Feature2D, image: NDArray[np.uint8]) -> tuple:
        key = hashlib.sha256(image.tobytes() + str(image.shape).encode()).digest()
        if key not in found:
            found[key] = describe(detector, image)
        return found[key]

    described.found = found  # type: ignore[attr-defined]
    return described


def small_photo(file: Path, megapixels: float) -> NDArray[np.uint8]:
    """A photo from a file, reduced to at most this size."""
    return reduced(read_photo(file), megapixels)


def reduced(photo: NDArray[np.uint8], megapixels: float) -> NDArray[np.uint8]:
    """The photo, made smaller if it is larger."""
    height, width = photo.shape[:2]
    scale = np.sqrt(megapixels * 1e6 / (width * height))
    if scale >= 1:
        return photo
    size = (round(width * scale), round(height * scale))
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def main() -> None:
    """Align all and print what was accepted, and what came nearest to it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("phone", type=Path)
    parser.add_argument("dslr", type=Path)
    parser.add_argument(
        "--each", type=int, default=0, help="DSLR photos for each phone photo; 0 for all"
    )
    parser.add_argument("--one-scene", default="", help="names of photos that show the same")
    parser.add_argument("--max-mp", type=float, default=2.0, help="larger photos are reduced")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    one_scene = frozenset(options.one_scene.split(","))
    phone, dslr = list_photos(options.phone), list_photos(options.dslr)
    files = list(crossed(phone, dslr, options.each, one_scene))
    inliers, verified, kinds, accepted = [], [], Counter(), []
    results = ordered_map(partial(verdict, options.max_mp), files, options.jobs)
    for (first, second), found in zip(files, results, strict=True):
        if len(inliers) % 100 == 99:
            print(f"{len(inliers) + 1} of {len(files)}", file=sys.stderr, flush=True)
        inliers.append(found.evidence.get("inliers", 0))
        verified.append(found.evidence.get("verified", 0))
        kinds[_NUMBER.sub("N", found.reason) or "accepted"] += 1
        if found.accepted:
            accepted.append(f"{first.name} x {second.name}")
    print(
        f"{len(files)} mismatched pairs: {len(accepted)} accepted {accepted or ''}; at most "
        f"{max(inliers)} inliers and {max(verified)} verified blocks"
    )
    for kind, count in kinds.most_common():
        print(f"  {count:4d} {kind}")


if __name__ == "__main__":
    main()
