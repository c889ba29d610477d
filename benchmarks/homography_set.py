"""How `align_pair` does on pairs of photos with annotated homographies.

The folder holds `manifest.json`, a list of pairs: `set`, `name`, the image files `a` and `b`
and `H_a_to_b`. The error is the mean
distance, over a grid of the overlap, between where the found and the annotated homography put a
point, in px of the second photo. A homography through a few marks, of a scene that is not flat, is
itself pixels off; so beside the error stands how well the photos correlate in windows all over the
overlap under the found map and under the annotated one.

    python benchmarks/homography_set.py FOLDER
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.config import AlignConfig
from dpedkit.align.pair import find_alignment
from dpedkit.geometry import PairMap, apply_homography, grid_points
from dpedkit.images import read_photo

LIMITS = (1.0, 3.0, 5.0)
WINDOW, MIN_CONTRAST = 48, 12.0  # px, grey levels

Image = NDArray[np.uint8]
Map = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def overlap_error(found: PairMap, truth: NDArray[np.float64]) -> float:
    """Mean distance over the overlap, in px of the second photo."""
    (width, height), second = found.phone_size, np.array(found.dslr_size)
    grid = grid_points(np.linspace(0, width - 1, 40), np.linspace(0, height - 1, 30))
    mapped = apply_homography(truth, grid)
    inside = ((mapped >= 0) & (mapped <= second - 1)).all(axis=1)
    return float(np.linalg.norm(found(grid[inside]) - mapped[inside], axis=1).mean())


def correlations(first: Image, second: Image, to_second: Map) -> dict[tuple[int, int], float]:
    """NCC of each textured window of the first photo and the second one, warped to it."""
    grey, other = (cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY) for photo in (first, second))
    height, width = grey.shape
    maps = to_second(grid_points(np.arange(width), np.arange(height)))
    maps = maps.reshape(height, width, 2).astype(np.float32)
    warped = cv2.remap(other, maps, None, cv2.INTER_CUBIC)
    inside = ((maps >= 0) & (maps <= np.array(other.shape[::-1]) - 1)).all(axis=2)
    found = {}
    for top in range(0, height - WINDOW + 1, WINDOW):
        for left in range(0, width - WINDOW + 1, WINDOW):
            window = np.s_[top : top + WINDOW, left : left + WINDOW]
            if inside[window].all() and grey[window].std() > MIN_CONTRAST:
                ncc = cv2.matchTemplate(grey[window], warped[window], cv2.TM_CCOEFF_NORMED)
                found[top, left] = float(ncc[0, 0])
    return found


def area_under_curve(errors: list[float], limit: float) -> float:
    """Share of pairs below an error, averaged over all errors up to the limit."""
    return float(np.mean([max(0.0, 1 - error / limit) for error in errors]))


def main() -> None:
    """Align every pair and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--working-mp", type=float, default=AlignConfig.working_mp)
    options = parser.parse_args()
    folder, config = options.folder, AlignConfig(working_mp=options.working_mp)
    cv2.setNumThreads(1)
    errors = []
    print(
        "| pair | verdict | error px | NCC found / annotated | found is better in | "
        "stated px | verified |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for pair in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        photos = [read_photo(folder / pair[key]) for key in ("a", "b")]
        found = find_alignment(photos[0], photos[1], config)
        title = f"{pair['set']} {pair['name']}"
        if not found.accepted or found.map is None:
            print(f"| {title} | refused: {found.reason} | | | | | |", flush=True)
            continue
        truth = np.array(pair["H_a_to_b"])
        error = overlap_error(found.map, truth)
        errors.append(error)
        ours = correlations(photos[0], photos[1], found.map)
        theirs = correlations(photos[0], photos[1], partial(apply_homography, truth))
        windows = [(ours[place], theirs[place]) for place in ours if place in theirs]
        ncc = np.median(windows, axis=0)
        better = np.mean([one > two for one, two in windows])
        evidence = found.evidence
        print(
            f"| {title} | {evidence['model']} | {error:.2f} | {ncc[0]:.3f} / {ncc[1]:.3f} "
            f"| {better:.0%} of {len(windows)} | {evidence['error']:.3f} "
            f"| {evidence['verified']} |",
            flush=True,
        )
    areas = ", ".join(f"{area_under_curve(errors, limit):.3f} at {limit:g} px" for limit in LIMITS)
    print(f"{len(errors)} accepted; area under the curve of their errors: {areas}")


if __name__ == "__main__":
    main()
