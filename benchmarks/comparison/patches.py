"""Matching windows, beside plain ways to do it; and cutting shards with one and two workers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from comparison.effort import Effort
from comparison.machine import Scaling
from comparison.tables import MORE, Column, Row, Table
from comparison.turns import Cost, by_turns, cost_of, median_ratio
from dpedkit.core.atomic import write_json
from dpedkit.core.manifest import write_jsonl
from dpedkit.core.process import one_thread
from dpedkit.core.records import ACCEPTED, ALIGNED_FORMAT, PairRecord, SourcePhoto
from dpedkit.core.wording import counted
from dpedkit.images import write_photo
from dpedkit.patches import PatchConfig, match_windows
from dpedkit.patches.matching import window_grid
from dpedkit.patches.verdict import luma

SIZE, REACH = 100, 5
OURS = "dpedkit, to a fraction of a pixel"
ROUNDS = 2  # of one worker, two workers and the machine alone
Photo = NDArray[np.uint8]
Plane = NDArray[np.float32]
Corners = list[tuple[int, int]]

TITLE = "Patches"
NOTE = (
    "The plain ways search shifts of up to 5 whole pixels and stop there; dpedkit also refines to "
    "a fraction of a pixel, tests the window for other content, and cuts the patch."
)
WORKERS_NOTE = (
    "*The machine* is what two processes do beside one that runs alone, measured between the runs: "
    "first arithmetic that stays in each core's own cache, then copying through main memory. A "
    "speed-up close to the first is all that there is to be had. The workers' processes take about "
    "a second to start, which few small pairs do not repay."
)


def compare(effort: Effort) -> Iterator[Table]:
    """A table of the ways to match, and one of the numbers of pairs."""
    with one_thread:
        yield compare_matching(effort.rounds, side=8 if effort.rounds > 2 else 3)
    yield compare_workers(effort)


# ---------------------------------------------------------------------------- ways to match


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


def ncc(a: Plane, b: Plane) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def rotated(image: Plane, x: int, y: int, angle: float) -> Plane:
    """The search region around a window, turned about the window's centre."""
    region = image[y - REACH : y + SIZE + REACH, x - REACH : x + SIZE + REACH]
    centre = (len(region) - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), angle, 1)
    turned: Plane = cv2.warpAffine(
        region, turn, region.shape[::-1], borderMode=cv2.BORDER_REPLICATE
    )
    return turned


def double_loop(phone: Photo, dslr: Photo, corners: Corners) -> None:
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


def match_template(phone: Photo, dslr: Photo, corners: Corners) -> None:
    """OpenCV's matchTemplate on copies at 5 rotations."""
    a, b = luma(phone), luma(dslr)
    for x, y in corners:
        window = a[y : y + SIZE, x : x + SIZE]
        for angle in (-2, -1, 0, 1, 2):
            cv2.matchTemplate(rotated(b, x, y, angle), window, cv2.TM_CCOEFF_NORMED).max()


def by_dpedkit(phone: Photo, dslr: Photo, corners: Corners) -> None:
    """`match_windows` with its defaults, everything included."""
    assert len(match_windows(phone, dslr, PatchConfig())) == len(corners)


def compare_matching(rounds: int, side: int) -> Table:
    """All ways on the same `side` x `side` windows, on one core."""
    edge = SIZE * side + 40
    phone, dslr = synthetic_pair(0, edge, edge)
    corners = window_grid(edge, edge, SIZE)
    contenders: dict[str, Callable[[Photo, Photo, Corners], None]] = {
        OURS: by_dpedkit,
        "matchTemplate, whole pixels, 5 rotations": match_template,
        "numpy double loop, whole pixels, 3 rotations": double_loop,
    }
    ways = {name: partial(way, phone, dslr, corners) for name, way in contenders.items()}
    ways[OURS]()
    costs = by_turns(ways, rounds)
    why = {
        "windows/s": "It only finds the best whole pixel, and neither tests nor cuts the window."
    }
    rows = tuple(
        Row(
            name,
            (
                len(corners) / statistics.median(cost.processor for cost in spent),
                median_ratio(spent, costs[OURS]),
            ),
            why,
        )
        for name, spent in costs.items()
    )
    columns = (Column("windows/s", MORE, ",.0f"), Column("times dpedkit's seconds"))
    return Table("Matching of windows on one core", columns, rows, OURS)


# ---------------------------------------------------------------------------------- workers

CUT = """
import sys
from pathlib import Path
from dpedkit.core.console import QUIET, set_verbosity
from dpedkit.patches import PatchConfig, cut_patches
set_verbosity(QUIET)
config = PatchConfig(thumbnails=False)
cut_patches(Path(sys.argv[1]), Path(sys.argv[2]), config, jobs=int(sys.argv[3]))
"""
_DIFFERENT = 8  # photos; more pairs repeat them


def make_aligned(folder: Path, pairs: int, megapixels: float) -> int:
    """An aligned folder of synthetic pairs, 4:3; returns the number of their windows."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    records = []
    for side in ("phone", "dslr"):
        (folder / side).mkdir(parents=True)
    for number in range(pairs):
        name = f"{number:04d}"
        photos = synthetic_pair(number, width, height) if number < _DIFFERENT else (None, None)
        for side, photo in zip(("phone", "dslr"), photos, strict=True):
            path = folder / side / f"{name}.png"
            if photo is not None:
                write_photo(path, photo)
            else:
                path.hardlink_to(folder / side / f"{number % _DIFFERENT:04d}.png")
        source = SourcePhoto(name, 0, 0, width, height)
        records.append(PairRecord(number, name, ACCEPTED, "", source, source))
    write_jsonl(folder / "pairs.jsonl", [record.to_dict() for record in records])
    description = {"format": ALIGNED_FORMAT, "kind": "aligned", "complete": True}
    description["config"] = {"image_format": "png"}
    write_json(folder / "dataset.json", description)
    return pairs * len(window_grid(width, height, SIZE))


def cut(aligned: Path, output: Path, jobs: int) -> None:
    """In a process of its own, as `dpedkit patches` is."""
    command = [sys.executable, "-c", CUT, str(aligned), str(output), str(jobs)]
    subprocess.run(command, check=True)


def compare_workers(effort: Effort) -> Table:
    """From aligned photos to finished shards, by pairs and workers, beside the machine alone."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for pairs, megapixels in effort.pairs:
            folder = Path(scratch) / f"{pairs}"
            windows = make_aligned(folder, pairs, megapixels)
            scaling, costs = Scaling(), dict[int, list[Cost]]({1: [], 2: []})
            scaling.probe(effort.probe_seconds)
            for turn in range(min(ROUNDS, effort.rounds)):
                for jobs, spent in costs.items():
                    output = folder / f"shards-{turn}-{jobs}"
                    spent.append(cost_of(partial(cut, folder, output, jobs)))
                scaling.probe(effort.probe_seconds)
            rows.append(_workers_row(pairs, megapixels, windows, costs, scaling))
    columns = (
        Column("windows/s, 1 worker", form=",.0f"),
        Column("2 workers", form=",.0f"),
        Column("speed-up", form=".2f"),
        Column("processor time, 2 workers to 1"),
        Column("the machine: arithmetic"),
        Column("copying"),
    )
    return Table("From aligned pairs to shards", columns, tuple(rows), None, (WORKERS_NOTE,))


def _workers_row(
    pairs: int, megapixels: float, windows: int, costs: dict[int, list[Cost]], scaling: Scaling
) -> Row:
    clock = {jobs: statistics.median(cost.clock for cost in spent) for jobs, spent in costs.items()}
    turns = list(zip(costs[1], costs[2], strict=True))
    values = (
        windows / clock[1],
        windows / clock[2],
        statistics.median(one.clock / two.clock for one, two in turns),
        statistics.median(two.processor / one.processor for one, two in turns),
        *(statistics.median(found) for found in scaling.measured.values()),
    )
    return Row(f"{counted(pairs, 'pair')} of {megapixels:g} MP", values)
