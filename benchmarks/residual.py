"""What is still out of place in aligned photos, measured on the written images alone.

Windows of 64 px, at places that have nothing to do with the alignment's own blocks, are compared
by normalised cross-correlation over small shifts; the peak is found to a fraction of a pixel by a
parabola through its neighbours. Windows without a clear peak say nothing and are left out. Of the
others each states how precisely its peak can be placed, by its sharpness and by how much the two
windows differ: the second line is of those that are placed to within 0.05 px.

    python benchmarks/residual.py ALIGNED...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.core.manifest import read_jsonl
from dpedkit.images import read_photo

WINDOW, REACH = 64, 3
MIN_NCC = 0.7
MIN_CURVATURE = 0.01  # of the peak, in both directions: flat windows cannot be placed
FINE, COARSE = 1, 8  # px; the band-pass is between blurs of these deviations
SAMPLES = WINDOW**2 / (4 * np.pi * FINE**2)  # independent ones: a blur ties its neighbours together
PLACED = 0.05  # px


def residuals(phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shift and its standard error, `(N, 3)` in px, of the windows that have a clear peak."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (phone, dslr)]
    # A band-pass: slow shading says nothing of place, and noise lies above it.
    first, second = (
        cv2.GaussianBlur(image, (0, 0), FINE) - cv2.GaussianBlur(image, (0, 0), COARSE)
        for image in grey
    )
    height, width = first.shape
    found = []
    for top in range(REACH + 5, height - WINDOW - REACH, WINDOW):
        for left in range(REACH + 5, width - WINDOW - REACH, WINDOW):
            window = first[top : top + WINDOW, left : left + WINDOW]
            around = second[
                top - REACH : top + WINDOW + REACH, left - REACH : left + WINDOW + REACH
            ]
            shift = peak(cv2.matchTemplate(around, window, cv2.TM_CCOEFF_NORMED))
            if shift is not None:
                found.append(shift)
    return np.array(found).reshape(-1, 3)


def peak(ncc: NDArray[np.float32]) -> tuple[float, float, float] | None:
    """Sub-pixel place of the highest value, from the middle, and its standard error in the worse
    direction; None where it is not clear."""
    row, column = np.unravel_index(ncc.argmax(), ncc.shape)
    if ncc[row, column] < MIN_NCC or not 0 < row < 2 * REACH or not 0 < column < 2 * REACH:
        return None
    place, variance = [], []
    for before, here, after, start in (
        (ncc[row, column - 1], ncc[row, column], ncc[row, column + 1], column),
        (ncc[row - 1, column], ncc[row, column], ncc[row + 1, column], row),
    ):
        curvature = float(2 * here - before - after)
        if curvature < MIN_CURVATURE:
            return None
        place.append(start - REACH + float(after - before) / (2 * curvature))
        variance.append(float(1 - ncc[row, column]) / (curvature * SAMPLES))
    return place[0], place[1], float(np.sqrt(max(variance)))


def measure(folder: Path) -> None:
    """Print the residual of a folder that `dpedkit align` wrote."""
    lengths, errors, doubtful, count = [], [], [], 0
    for record in read_jsonl(folder / "pairs.jsonl"):
        if record["status"] != "accepted":
            continue
        count += 1
        suffix = next((folder / "phone").glob(f"{record['name']}.*")).suffix
        pair = [
            read_photo(folder / side / f"{record['name']}{suffix}") for side in ("phone", "dslr")
        ]
        shift = residuals(*pair)
        length = np.linalg.norm(shift[:, :2], axis=1)
        lengths.append(length)
        errors.append(shift[:, 2])
        if len(length) < 10 or np.median(length) > 0.5:
            doubtful.append(record["name"])
    whole = np.concatenate(lengths)
    scenes = [np.median(length) for length in lengths if len(length)]
    print(
        f"{folder}: {count} pairs, {len(whole)} windows: median {np.median(whole):.3f} px, "
        f"p95 {np.percentile(whole, 95):.3f}; median of the worst scene {max(scenes):.3f}; "
        f"doubtful: {', '.join(doubtful) or 'none'}"
    )
    placed = whole[np.concatenate(errors) < PLACED]
    print(
        f"  {len(placed)} of them placed to within {PLACED} px: median {np.median(placed):.3f} px, "
        f"p95 {np.percentile(placed, 95):.3f}"
    )


def main() -> None:
    """Measure each folder given."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    for folder in parser.parse_args().folders:
        measure(folder)


if __name__ == "__main__":
    main()
