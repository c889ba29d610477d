"""How fast windows are matched, against two plain ways of doing it, and how two workers scale.

    python benchmarks/patches.py [--photos 4] [--megapixels 12]

All contenders match the same textured windows of the same pair of synthetic photos, in this
process, on one core. The baselines search shifts of +-5 whole pixels and a few rotations and stop
there; dpedkit also refines to a fraction of a pixel, judges the window and cuts the patch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.core.atomic import write_json
from dpedkit.core.console import table
from dpedkit.core.manifest import write_jsonl
from dpedkit.core.records import ACCEPTED, ALIGNED_FORMAT, PairRecord, SourcePhoto
from dpedkit.images import write_photo
from dpedkit.patches import PatchConfig, match_windows
from dpedkit.patches.matching import window_grid
from dpedkit.patches.verdict import luma
from dpedkit.shards import split_counts

SIZE, REACH, GOES = 100, 5, 8
Photo = NDArray[np.uint8]
Contender = Callable[[Photo, Photo, list[tuple[int, int]]], None]


def synthetic_pair(seed: int, width: int, height: int) -> tuple[Photo, Photo]:
    """A textured scene twice: once darker and noisy, once moved by (0.6, -0.4) px."""
    rng = np.random.default_rng(seed)
    scene = np.zeros((height, width, 3), np.float32)
    for scale in (2, 4, 8, 32):
        shape = (height // scale + 2, width // scale + 2, 3)
        noise = rng.normal(size=shape).astype(np.float32)
        scene += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    scene = 120 + 25 * scene
    move = np.array([[1, 0, 0.6], [0, 1, -0.4]])
    moved = cv2.warpAffine(scene, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    phone = 0.8 * scene + 15 + rng.normal(0, 2, scene.shape).astype(np.float32)
    return phone.clip(0, 255).astype(np.uint8), moved.clip(0, 255).astype(np.uint8)


def ncc(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def rotated(image: NDArray[np.float32], x: int, y: int, angle: float) -> NDArray[np.float32]:
    """The search region around a window, turned about the window's centre."""
    region = image[y - REACH : y + SIZE + REACH, x - REACH : x + SIZE + REACH]
    centre = (len(region) - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), angle, 1)
    return cv2.warpAffine(region, turn, region.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def double_loop(phone: Photo, dslr: Photo, corners: list[tuple[int, int]]) -> None:
    """A Python loop over shifts and 3 rotations, NCC by numpy."""
    a, b = luma(phone), luma(dslr)
    for x, y in corners:
        window = a[y : y + SIZE, x : x + SIZE]
        for angle in (-1, 0, 1):
            region = rotated(b, x, y, angle)
            max(
                ncc(window, region[dy : dy + SIZE, dx : dx + SIZE])
                for dy in range(2 * REACH + 1)
                for dx in range(2 * REACH + 1)
            )


def match_template(phone: Photo, dslr: Photo, corners: list[tuple[int, int]]) -> None:
    """OpenCV's matchTemplate on copies at 5 rotations."""
    a, b = luma(phone), luma(dslr)
    for x, y in corners:
        window = a[y : y + SIZE, x : x + SIZE]
        for angle in (-2, -1, 0, 1, 2):
            cv2.matchTemplate(rotated(b, x, y, angle), window, cv2.TM_CCOEFF_NORMED).max()


def dpedkit(phone: Photo, dslr: Photo, corners: list[tuple[int, int]]) -> None:
    """`match_windows` with its defaults, everything included."""
    assert len(match_windows(phone, dslr, PatchConfig())) == len(corners)


def windows_per_second(contender: Contender, side: int) -> float:
    """On a photo of `side` x `side` windows, by processor time."""
    edge = SIZE * side + 40
    phone, dslr = synthetic_pair(0, edge, edge)
    corners = window_grid(edge, edge, SIZE)
    start = time.thread_time()
    contender(phone, dslr, corners)
    return len(corners) / (time.thread_time() - start)


def compare_matching() -> None:
    """The best of some goes of each, by turns, so that other work on the machine hits all alike."""
    cv2.setNumThreads(1)
    contenders: dict[str, tuple[Contender, int]] = {
        "numpy double loop, 3 rotations": (double_loop, 3),
        "matchTemplate, 5 rotations": (match_template, 12),
        "dpedkit, sub-pixel": (dpedkit, 12),
    }
    rates = dict.fromkeys(contenders, 0.0)
    for _ in range(GOES):
        for name, (contender, side) in contenders.items():
            rates[name] = max(rates[name], windows_per_second(contender, side))
    ours = rates["dpedkit, sub-pixel"]
    rows = [(name, f"{rate:.0f}", f"{ours / rate:.2f}") for name, rate in rates.items()]
    print(table(("matching on one core", "windows/s", "dpedkit is faster by"), rows))


def make_aligned(folder: Path, photos: int, megapixels: float) -> None:
    """An aligned folder of synthetic pairs, 4:3."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    records = []
    for side in ("phone", "dslr"):
        (folder / side).mkdir(parents=True)
    for number in range(photos):
        name = f"{number:04d}"
        for side, photo in zip(
            ("phone", "dslr"), synthetic_pair(number, width, height), strict=True
        ):
            write_photo(folder / side / f"{name}.png", photo)
        source = SourcePhoto(name, 0, 0, width, height)
        records.append(PairRecord(number, name, ACCEPTED, "", source, source))
    write_jsonl(folder / "pairs.jsonl", [record.to_dict() for record in records])
    description = {"format": ALIGNED_FORMAT, "kind": "aligned", "complete": True}
    description["config"] = {"image_format": "png"}
    write_json(folder / "dataset.json", description)


CUT = """
import sys
from pathlib import Path
from dpedkit.core.console import QUIET, set_verbosity
from dpedkit.patches import PatchConfig, cut_patches
set_verbosity(QUIET)
cut_patches(Path(sys.argv[1]), Path(sys.argv[2]), PatchConfig(), jobs=int(sys.argv[3]))
"""


def cut_in_own_process(aligned: Path, output: Path, jobs: int) -> tuple[float, float, float]:
    """Seconds, processor seconds, and the peak MiB of the largest process."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", CUT, aligned, output, str(jobs)])
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, "the patches were not cut"
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare_workers(photos: int, megapixels: float) -> None:
    """From aligned photos to finished shards. Seconds say little on a machine that is not idle."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        aligned = Path(scratch) / "aligned"
        # In a process of its own: the peak memory of a process counts as that of those it starts.
        maker = get_context("spawn").Process(
            target=make_aligned, args=(aligned, photos, megapixels)
        )
        maker.start()
        maker.join()
        first = 0.0
        for jobs in (1, 2):
            shards = Path(scratch) / f"shards{jobs}"
            seconds, processor, peak = cut_in_own_process(aligned, shards, jobs)
            first = first or seconds
            patches = sum(split_counts(shards).values())
            times = (f"{seconds:.1f}", f"{processor:.1f}", f"{first / seconds:.2f}")
            rows.append((jobs, patches, *times, f"{peak:.0f}"))
    title = f"{photos} pairs of {megapixels:g} MP to shards: workers"
    header = (title, "patches", "seconds", "processor s", "speed-up", "MiB a process")
    print(table(header, rows) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=20, help="pairs for the test of two workers")
    parser.add_argument("--megapixels", type=float, default=12, help="their size")
    arguments = parser.parse_args()
    compare_workers(arguments.photos, arguments.megapixels)
    compare_matching()


if __name__ == "__main__":
    main()
