"""Check that every part of a matched window is in place.

A window is registered by one motion. If it shows two depths, a moving object or an occlusion, that
motion fits only some of its parts, while the NCC of the whole window hardly drops. So the residual
shift is measured in each part separately, by the Lucas-Kanade equations (IJCAI 1981), summed from
small cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CELLS = 10  # across the window; parts are three cells wide, at a stride of one cell
_PART = 3
_TEXTURE = 0.008  # minimum gradient power in the weaker direction for a part to have a shift
_MIN_NCC = 0.3  # parts with detail and a lower NCC show different things
_SURE_NCC, _SURE_ERROR = 0.6, 0.3  # minimum NCC, and maximum standard error in px, of a proven part
_NOISE_FACTOR = 4.0  # ratio of the variance of a shift to that for independent noise
# Ratio of the gradient power of the mean of two images to the power of their difference if both are
# independent noise, after the smoothing and normalisation of `Planes`; measured beside edges.
_NOISE_GRADIENT = 0.12
_SIGNIFICANT = 2.0  # standard errors


@dataclass(frozen=True)
class Parts:
    """Result of the comparison of the parts of a matched window.

    Attributes
    ----------
    worst : float
        Largest significant residual shift of a part with detail, px; 0 if there is none, infinite
        if a part with detail does not match.
    proven : (10, 10) bool array
        Cells, a tenth of the window wide, in a part whose own detail proves that it is in place.
    """

    worst: float
    proven: NDArray[np.bool_]


def compare_parts(a: NDArray[np.float32], b: NDArray[np.float32], limit: float) -> Parts:
    """Measure the residual shift of each part.

    Parameters
    ----------
    a, b : (S, S) float32
        The two matched windows, smoothed and locally normalised as in `registration.Planes`.
    limit : float
        Maximum shift of a part that is in place, px.
    """
    size = len(a)
    planes = np.empty((8, size, size), np.float32)
    both = cv2.addWeighted(a, 0.5, b, 0.5, 0)
    # The gradient of the mean of both is unbiased to second order in the shift.
    dx = cv2.Sobel(both, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    dy = cv2.Sobel(both, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    difference = cv2.subtract(a, b)
    factors = ((dx, dx), (dx, dy), (dy, dy), (dx, difference), (dy, difference))
    for plane, (one, other) in zip(planes, (*factors, (a, a), (b, b), (a, b)), strict=True):
        cv2.multiply(one, other, dst=plane)
    cells = cv2.resize(
        planes.reshape(-1, size), (CELLS, 8 * CELLS), interpolation=cv2.INTER_AREA
    ).reshape(8, CELLS, CELLS)
    count = CELLS - _PART + 1
    rows = cells[:, :count] + cells[:, 1 : count + 1] + cells[:, 2:]
    parts = (rows[:, :, :count] + rows[:, :, 1 : count + 1] + rows[:, :, 2:]) / _PART**2
    xx, xy, yy, x, y, power_a, power_b, product = parts
    weaker = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    shift = np.hypot(yy * x - xy * y, xx * y - xy * x) / np.maximum(xx * yy - xy * xy, 1e-12)
    noise = np.maximum(power_a + power_b - 2 * product, 1e-6)
    pixels = (size * _PART / CELLS) ** 2
    error = np.sqrt(_NOISE_FACTOR * noise / (pixels * np.maximum(weaker, 1e-12)))
    # Noise makes an edge look like detail in two directions, but the shift along it is unknown.
    detail = np.maximum(weaker - _NOISE_GRADIENT * noise, 1e-12)
    doubt = np.sqrt(_NOISE_FACTOR * noise / (pixels * detail))
    textured = weaker > _TEXTURE
    ncc = product / np.maximum(np.sqrt(power_a * power_b), 1e-12)
    if (ncc < _MIN_NCC)[textured].any():
        worst = np.inf
    else:
        worst = float(shift[textured & (shift > _SIGNIFICANT * error)].max(initial=0.0))
    sure = (ncc > _SURE_NCC) & (doubt < _SURE_ERROR) & (shift < limit)
    # A part proves its central cell; the outermost parts also prove the border of the window.
    border = _PART // 2
    proven = np.pad(sure, border, mode="edge")
    return Parts(worst, proven)
