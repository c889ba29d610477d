"""DSLR pixels carried onto the phone photo's pixel grid."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import Points, grid_points

# Between nodes this far apart the map is interpolated linearly. A strong lens (k1 = 0.03) bends it
# by 6 k1 / half diagonal per px^2, so the error is below 0.002 px at 1 MP and less at more.
_NODE_STEP = 8


def pixel_map(
    to_source: Callable[[Points], Points],
    corner: tuple[int, int],
    size: tuple[int, int],
    per_pixel: int = 1,
) -> NDArray[np.float32]:
    """Where each pixel of a window comes from, as `cv2.remap` wants it.

    Parameters
    ----------
    to_source : callable
        Maps window points `(N, 2)` to source points `(N, 2)`.
    corner, size : tuple of int
        `(x, y)` and `(width, height)` of the window in px.
    per_pixel : int
        Samples per pixel along each axis, at the centres of its equal parts.

    Returns
    -------
    (height * per_pixel, width * per_pixel, 2) float32 array
        Source points.
    """
    width, height = size
    across, down = -(-width // _NODE_STEP) + 2, -(-height // _NODE_STEP) + 2
    xs = corner[0] + (np.arange(across) - 0.5) * _NODE_STEP - 0.5
    ys = corner[1] + (np.arange(down) - 0.5) * _NODE_STEP - 0.5
    nodes = to_source(grid_points(xs, ys)).reshape(down, across, 2)
    # Subtracting the mean keeps float32 exact to a ten-thousandth of a pixel on large photos.
    step = _NODE_STEP * per_pixel
    dense = cv2.resize(
        nodes.astype(np.float32), (across * step, down * step), interpolation=cv2.INTER_LINEAR
    )
    return dense[step : step + height * per_pixel, step : step + width * per_pixel]
