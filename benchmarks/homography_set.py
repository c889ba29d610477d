"""How `align_pair` does on pairs of photos with annotated homographies.

The folder holds `manifest.json`, a list of pairs: `set`, `name`, the image files `a` and `b`,
`H_a_to_b` and, for some, hand-marked `check_points_a` and `check_points_b`. The error is the mean
distance, over a grid of the overlap, between where the found and the annotated homography put a
point, in px of the second photo; beside it stands how far the found map and the annotation are
from the marked points, since a homography through few marks is itself some pixels off.

    python benchmarks/homography_set.py FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.config import AlignConfig
from dpedkit.align.pair import find_alignment
from dpedkit.geometry import PairMap, apply_homography, grid_points
from dpedkit.images import read_photo

LIMITS = (1.0, 3.0, 5.0)


def overlap_error(found: PairMap, truth: NDArray[np.float64]) -> float:
    """Mean distance over the overlap, in px of the second photo."""
    (width, height), second = found.phone_size, np.array(found.dslr_size)
    grid = grid_points(np.linspace(0, width - 1, 40), np.linspace(0, height - 1, 30))
    mapped = apply_homography(truth, grid)
    inside = ((mapped >= 0) & (mapped <= second - 1)).all(axis=1)
    return float(np.linalg.norm(found(grid[inside]) - mapped[inside], axis=1).mean())


def mark_errors(pair: dict, found: PairMap, truth: NDArray[np.float64]) -> tuple[float, float]:
    """Mean distance of the found and of the annotated map from the marked points, px."""
    if not pair.get("check_points_a"):
        return float("nan"), float("nan")
    first, second = np.array(pair["check_points_a"]), np.array(pair["check_points_b"])
    return tuple(  # type: ignore[return-value]
        float(np.linalg.norm(mapped - second, axis=1).mean())
        for mapped in (found(first), apply_homography(truth, first))
    )


def area_under_curve(errors: list[float], limit: float) -> float:
    """Share of pairs below an error, averaged over all errors up to the limit."""
    return float(np.mean([max(0.0, 1 - error / limit) for error in errors]))


def main() -> None:
    """Align every pair and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    cv2.setNumThreads(1)
    errors = []
    print("| pair | verdict | error px | marks: found / annotated px | stated px | verified |")
    print("| --- | --- | --- | --- | --- | --- |")
    for pair in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        photos = [read_photo(folder / pair[key]) for key in ("a", "b")]
        found = find_alignment(photos[0], photos[1], AlignConfig())
        title = f"{pair['set']} {pair['name']}"
        if not found.accepted or found.map is None:
            print(f"| {title} | refused: {found.reason} | | | | |", flush=True)
            continue
        truth = np.array(pair["H_a_to_b"])
        error = overlap_error(found.map, truth)
        ours, theirs = mark_errors(pair, found.map, truth)
        errors.append(error)
        evidence = found.evidence
        print(
            f"| {title} | {evidence['model']} | {error:.2f} | {ours:.2f} / {theirs:.2f} "
            f"| {evidence['error']:.3f} | {evidence['verified']} |",
            flush=True,
        )
    areas = ", ".join(f"{area_under_curve(errors, limit):.3f} at {limit:g} px" for limit in LIMITS)
    print(f"{len(errors)} accepted; area under the curve of their errors: {areas}")


if __name__ == "__main__":
    main()
