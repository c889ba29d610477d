"""Which phone levels correspond to which DSLR levels, so that reports can compare the photos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import PairMap, Rectangle, grid_points

TONES = 17  # values of a curve, for DSLR levels evenly spaced from 0 to 255
_PLACES = 96  # along each side of the crop
_QUANTILES = np.linspace(0, 1, 257)


def tone_curves(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], pair_map: PairMap, crop: Rectangle
) -> list[list[int]]:
    """Curves that give the DSLR photo the histograms of the phone photo (histogram matching).

    They come from points spread over the crop, and so take milliseconds at any size.

    Parameters
    ----------
    phone, dslr : (H, W, 3) uint8 array
        The original photos, upright, RGB.
    pair_map : PairMap
    crop : tuple of int
        `(x, y, width, height)` in the phone photo.

    Returns
    -------
    list of 3 lists of 17 int
        For red, green and blue: the phone's level, 0 to 255, for DSLR levels `255 k / 16`.
    """
    x, y, width, height = crop
    steps = (np.arange(_PLACES) + 0.5) / _PLACES
    here = grid_points(x + steps * width, y + steps * height)
    levels = np.linspace(0, 255, TONES)
    curves = []
    for given, wanted in zip(_seen(dslr, pair_map(here)).T, _seen(phone, here).T, strict=True):
        found = np.interp(levels, *(np.quantile(part, _QUANTILES) for part in (given, wanted)))
        curves.append(np.rint(found).astype(int).tolist())
    return curves


def _seen(photo: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The `(N, 3)` pixels nearest to points, those outside replaced by the closest at the edge."""
    height, width = photo.shape[:2]
    x, y = np.rint(points).astype(int).T
    pixels: NDArray[np.uint8] = photo[y.clip(0, height - 1), x.clip(0, width - 1)]
    return pixels
