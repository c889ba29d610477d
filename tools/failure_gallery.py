"""Write the page of failures in the documentation: photo pairs that fail, made by `simulate`.

python tools/failure_gallery.py docs/failures.md    # and the pictures, in docs/failures/
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.pair import Alignment, align_pair
from dpedkit.core.atomic import write_text
from dpedkit.patches.matching import match_windows
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import simulate_pair

Photo = NDArray[np.uint8]
Pair = tuple[Photo, Photo]

HEIGHT = 240  # px of a picture
MEGAPIXELS = {"phone_megapixels": 1.2, "dslr_megapixels": 2.4}
SIZE = 100  # px of a window


@dataclass(frozen=True)
class Failure:
    """One way to fail: what happened, how to avoid it, and how to make such a pair."""

    name: str
    title: str
    cause: str
    cure: str
    spoil: Callable[[Photo, Photo], Pair] = lambda phone, dslr: (phone, dslr)
    simulated: dict[str, Any] = field(default_factory=dict)
    scene: int = 0


def _other_scene(phone: Photo, dslr: Photo) -> Pair:
    return phone, simulate_pair(SimulateConfig(**MEGAPIXELS), 1).dslr


def _shaken(phone: Photo, dslr: Photo) -> Pair:
    path = np.zeros((31, 31), np.float32)
    cv2.line(path, (0, 8), (30, 22), 1.0)
    return np.asarray(cv2.filter2D(phone, -1, path / path.sum()), np.uint8), dslr


def _out_of_focus(phone: Photo, dslr: Photo) -> Pair:
    return phone, np.asarray(cv2.GaussianBlur(dslr, (0, 0), 9), np.uint8)


def _zoomed(phone: Photo, dslr: Photo) -> Pair:
    height, width = dslr.shape[:2]
    top, left = round(0.31 * height), round(0.31 * width)
    return phone, np.ascontiguousarray(dslr[top:-top, left:-left])


def _mirrored(phone: Photo, dslr: Photo) -> Pair:
    return np.ascontiguousarray(phone[:, ::-1]), dslr


def _black(phone: Photo, dslr: Photo) -> Pair:
    return phone, np.full_like(dslr, 6)


def _tiled(phone: Photo, dslr: Photo) -> Pair:
    """A wall of equal tiles, of which each camera sees another part, with its own noise."""
    rng = np.random.default_rng(0)
    tile = cv2.resize(rng.integers(40, 220, (6, 6, 3), dtype=np.uint8), (64, 64))
    tile[:4] = tile[:, :4] = 30

    def seen(shape: tuple[int, ...], at: int) -> Photo:
        wall = np.tile(tile, (shape[0] // 64 + 2, shape[1] // 64 + 2, 1))
        part = wall[at : at + shape[0], at : at + shape[1]]
        return np.clip(part + rng.normal(0, 3, part.shape), 0, 255).astype(np.uint8)

    return seen(phone.shape, 0), seen(phone.shape, 21)


def _moved(phone: Photo, dslr: Photo) -> Pair:
    """A dark thing with a bright stripe that is elsewhere by the time of the second photo."""
    changed = []
    for photo, place in ((phone, 0.30), (dslr, 0.55)):
        height, width = photo.shape[:2]
        corner = np.array([place * width, 0.5 * height])
        far = corner + np.array([0.22 * width, 0.3 * height])
        photo = photo.copy()
        cv2.rectangle(photo, corner.astype(int), far.astype(int), (40, 45, 60), -1)
        middle = [corner[0], (corner[1] + far[1]) / 2], [far[0], (corner[1] + far[1]) / 2]
        ends = [tuple(int(x) for x in end) for end in middle]
        cv2.line(photo, *ends, (230, 200, 40), height // 40)
        changed.append(photo)
    return changed[0], changed[1]


def _clipped(phone: Photo, dslr: Photo) -> Pair:
    return phone, np.clip(dslr.astype(np.float32) * 2.2, 0, 255).astype(np.uint8)


FAILURES = (
    Failure(
        "other-scene",
        "Photos of different scenes",
        "The pairs were put together wrongly: one photo is missing, and all that follow are one "
        "place off.",
        "Look at the pairs beforehand with `dpedkit pairs`, and pair by time.",
        _other_scene,
    ),
    Failure(
        "shaken",
        "Camera shake",
        "The phone moved during the exposure.",
        "Use a tripod and a remote release; take a second photo if in doubt.",
        _shaken,
    ),
    Failure(
        "out-of-focus",
        "Out of focus",
        "The DSLR focused on something else.",
        "Use a small aperture, and focus by hand on the middle distance.",
        _out_of_focus,
    ),
    Failure(
        "black",
        "Nothing to see",
        "A lens cap, or a photo taken by mistake.",
        "Delete the photo, or leave it: the pair is rejected and harms nothing.",
        _black,
    ),
    Failure(
        "zoomed",
        "Too little in common",
        "The DSLR was zoomed in, and sees only the middle of what the phone sees.",
        "Choose a focal length with which the DSLR sees as much as the phone, or more. "
        "`--min-overlap` refuses such pairs.",
        _zoomed,
    ),
    Failure(
        "mirrored",
        "Mirrored",
        "An app, such as that of the front camera, saved the photo mirrored.",
        "Mirror it back, and turn the app's setting off.",
        _mirrored,
    ),
    Failure(
        "tiles",
        "Repeated texture",
        "Tiles, bricks, fences and windows fit as well one period further on.",
        "Have something in the picture that does not repeat.",
        _tiled,
    ),
    Failure(
        "depth",
        "Near things in front of far ones",
        "The two lenses see near things displaced, here by 40 px. The pair is accepted, since "
        "each depth is followed, but windows across an edge between near and far are dropped.",
        "Bring the lenses closer together, or step back.",
        simulated={"disparity": 40.0, "objects": 4},
        scene=2,
    ),
    Failure(
        "moved",
        "Something moved",
        "The two photos were not taken at the same moment.",
        "Release both cameras at once; avoid wind and traffic.",
        _moved,
        scene=2,
    ),
    Failure(
        "clipped",
        "Overexposed",
        "The DSLR's photo is pure white where it is brightest. What is not in the photo cannot "
        "be learnt.",
        "Expose for the bright parts; `--max-clipped` sets how much of a window may be clipped.",
        _clipped,
        scene=3,
    ),
    Failure(
        "noise",
        "Noise",
        "The phone's photo was taken in the dark. The pair is aligned, but in windows without "
        "strong detail, noise hides what the two photos have in common.",
        "More light; or accept a lower `--min-corr` if the network is meant for such photos.",
        simulated={"noise": 45.0},
        scene=2,
    ),
)


def gallery(pictures: Path) -> str:
    """The page as Markdown; its pictures are written into a folder."""
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [
        "# Failures, and what to do about them",
        "",
        "What dpedkit says about photos that cannot be used, or not all over, and how to avoid it. "
        "The photos are simulated; the sentences are what `align` and `patches` really say. "
        "Left the phone, right the DSLR; windows that `patches` drops are red.",
        "",
        "Generated by `./dev docs`.",
        "",
    ]
    for failure in FAILURES:
        config = SimulateConfig(**MEGAPIXELS, **failure.simulated)
        shot = simulate_pair(config, failure.scene)
        pair = failure.spoil(shot.phone, shot.dslr)
        alignment = align_pair(*pair)
        outcome, marked = _outcome(alignment, pair[0])
        _write_picture(pictures / f"{failure.name}.jpg", marked, pair[1])
        parts += [
            f"## {failure.title}",
            "",
            f"![{failure.title}]({pictures.name}/{failure.name}.jpg)",
            "",
            f"- *{outcome}*",
            f"- Cause: {failure.cause}",
            f"- Cure: {failure.cure}",
            "",
        ]
    return "\n".join(parts)


def _outcome(alignment: Alignment, phone: Photo) -> tuple[str, Photo]:
    """What is said about a pair, and the phone photo with its dropped windows in red."""
    if not alignment.accepted:
        return f"Rejected: {alignment.reason}.", phone
    assert alignment.phone is not None and alignment.dslr is not None and alignment.map is not None
    surfaces = alignment.map.surfaces
    known = None if surfaces is None else surfaces.known(alignment.crop)
    patches = match_windows(alignment.phone, alignment.dslr, known=known)
    marked = phone.copy()
    for (x, y), fate in zip(patches.window_xy, patches.window_fate, strict=True):
        left, top = alignment.crop[0] + x, alignment.crop[1] + y
        if fate != "kept":
            window = marked[top : top + SIZE, left : left + SIZE]
            window[:] = window * 0.5 + np.array([110, 0, 0])
    dropped = Counter(fate for fate in patches.window_fate if fate != "kept")
    reasons = ", ".join(f"{count} as '{reason}'" for reason, count in dropped.most_common())
    lost = f" Dropped: {reasons}." if dropped else ""
    warned = "".join(f" Please check: {warning}." for warning in alignment.warnings)
    text = f"Accepted; {len(patches)} of {patches.tried} windows kept.{lost}{warned}"
    return text, marked


def _write_picture(path: Path, phone: Photo, dslr: Photo) -> None:
    small = [
        cv2.resize(photo, (round(photo.shape[1] * HEIGHT / photo.shape[0]), HEIGHT),
                   interpolation=cv2.INTER_AREA)
        for photo in (phone, dslr)
    ]  # fmt: skip
    gap = np.full((HEIGHT, 6, 3), 255, np.uint8)
    both = np.hstack([small[0], gap, small[1]])
    cv2.imwrite(str(path), both[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    page = Path(sys.argv[1])
    write_text(page, gallery(page.with_suffix("")))
