"""Whether all parts of a matched window lie in place, each by itself.

One motion registers a window as a whole. Where it shows two depths, something that moved, or what
the other camera cannot see, that motion fits one part and not the others, and the NCC of the whole
hardly tells. So the shift that is left is measured in every part by itself: Lucas and Kanade's
equations (IJCAI 1981), summed from small cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CELLS = 10  # across the window; parts are three cells wide and next to each other by one
_PART = 3
_TEXTURE = 0.008  # least gradient power along the weaker direction; plainer parts tell no shift
_MIN_NCC = 0.3  # parts with detail that correlate less show different things
_SURE_NCC, _SURE_ERROR = 0.6, 0.3  # a part that correlates so, and knows its shift to so many px
_NOISE_FACTOR = 4.0  # neighbouring pixels share noise: a shift's variance is that much larger
# Gradient power of the mean of two images, over the power of their difference, where both are
# independent noise: by the smoothing and the even contrast of `Planes`, measured beside edges.
_NOISE_GRADIENT = 0.12
_SIGNIFICANT = 2.0  # standard errors


@dataclass(frozen=True)
class Parts:
    """What the parts of a matched window show.

    Attributes
    ----------
    worst : float
        How far the part that is furthest out of place is from its place, px, of those with detail
        whose shift stands out from its noise; 0 where there is none, infinite where a part with
        detail shows something else.
    proven : (10, 10) bool array
        Which tenths of the window, in rows and columns, lie in a part whose own detail shows that
        it is in place.
    """

    worst: float
    proven: NDArray[np.bool_]


def compare_parts(a: NDArray[np.float32], b: NDArray[np.float32], limit: float) -> Parts:
    """Measure the shift that is left in each part.

    Parameters
    ----------
    a, b : (S, S) float32
        The two matched windows, smoothed and of one local brightness and contrast, as
        `registration.Planes` has them.
    limit : float
        A part is in place up to this shift, px.
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
    # An edge slides along itself, however much noise makes it look like detail.
    detail = np.maximum(weaker - _NOISE_GRADIENT * noise, 1e-12)
    doubt = np.sqrt(_NOISE_FACTOR * noise / (pixels * detail))
    textured = weaker > _TEXTURE
    ncc = product / np.maximum(np.sqrt(power_a * power_b), 1e-12)
    if (ncc < _MIN_NCC)[textured].any():
        worst = np.inf
    else:
        worst = float(shift[textured & (shift > _SIGNIFICANT * error)].max(initial=0.0))
    sure = (ncc > _SURE_NCC) & (doubt < _SURE_ERROR) & (shift < limit)
    # A part vouches for its middle; at the window's border, the outermost parts for what is there.
    border = _PART // 2
    proven = np.pad(sure, border, mode="edge")
    return Parts(worst, proven)
