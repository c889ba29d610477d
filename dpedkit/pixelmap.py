"""Where the pixels of a phone window lie in another picture: what `cv2.remap` wants."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import Points, grid_points

# Between nodes this far apart the map is interpolated linearly. A strong lens (k1 = 0.03) bends it
# by 6 k1 / half diagonal per px^2, so the error is below 0.002 px at 1 MP and less at more.
NODE_STEP = 8


class PixelMap:
    """The source point of each pixel of a window, interpolated between nodes on a coarse grid.

    Parameters
    ----------
    to_source : callable
        Maps window points `(N, 2)` to source points `(N, 2)`.
    corner, size : tuple of int
        `(x, y)` and `(width, height)` of the window in px.
    per_pixel : int
        Samples per pixel along each axis, at the centres of its equal parts.

    Attributes
    ----------
    nodes : (R, C, 2) array
        Source points of the centres of 8 px squares that tile the window from its corner, with one
        more square beyond each edge.
    """

    def __init__(
        self,
        to_source: Callable[[Points], Points],
        corner: tuple[int, int],
        size: tuple[int, int],
        per_pixel: int = 1,
    ) -> None:
        self.width, self.per_pixel = size[0], per_pixel
        across, down = (-(-side // NODE_STEP) + 2 for side in size)
        xs = corner[0] + (np.arange(across) - 0.5) * NODE_STEP - 0.5
        ys = corner[1] + (np.arange(down) - 0.5) * NODE_STEP - 0.5
        self.nodes = to_source(grid_points(xs, ys)).reshape(down, across, 2)

    def rows(self, top: int, bottom: int) -> NDArray[np.float32]:
        """Source points of the window's rows from `top` up to `bottom`.

        Parameters
        ----------
        top, bottom : int
            In px from the window's top; `top` is a multiple of 8.

        Returns
        -------
        ((bottom - top) * per_pixel, width * per_pixel, 2) float32 array
        """
        first, last = top // NODE_STEP, -(-bottom // NODE_STEP)
        nodes = self.nodes[first : last + 2].astype(np.float32)
        step = NODE_STEP * self.per_pixel
        dense = cv2.resize(
            nodes,
            (nodes.shape[1] * step, nodes.shape[0] * step),
            interpolation=cv2.INTER_LINEAR,
        )
        height, width = (bottom - top) * self.per_pixel, self.width * self.per_pixel
        return dense[step : step + height, step : step + width]
