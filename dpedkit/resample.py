"""From two photos and their map to two images that match pixel for pixel.

The phone photo is cropped to the largest rectangle that the DSLR photo covers; its pixels are
unchanged. The DSLR photo is resampled once, from its original pixels to the grid of that crop.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.core.arrays import check_photo
from dpedkit.geometry import PairMap, Points, Rectangle, centre_of, grid_points

# px between nodes; between them the map is interpolated linearly. The second derivative of strong
# lens distortion (k1 = 0.03) is 6 k1 / half diagonal, so the error is below 0.002 px at 1 MP and
# smaller for larger photos.
NODE_STEP = 8
_STRIP = 256  # rows at a time: limits the memory, and stays in the processor's cache
_MAX_STEP = 1.9  # DSLR px between samples up to which a filter of three taps prevents aliasing
_CROP_NODES = (
    64  # along the longer side of the coarse grid; the edges are then refined to single pixels
)
_MARGIN = 2  # px inside the DSLR photo, so that resampling never reads beyond its edge


def overlap_share(pair_map: PairMap) -> float:
    """Fraction of the phone photo that the DSLR photo covers."""
    xs, ys = _nodes(pair_map.phone_size)
    return float(_covered(pair_map, grid_points(xs, ys)).mean())


def largest_crop(pair_map: PairMap) -> Rectangle:
    """The largest rectangle of whole phone pixels inside the overlap; empty if there is none."""
    xs, ys = _nodes(pair_map.phone_size)
    covered = _covered(pair_map, grid_points(xs, ys)).reshape(len(ys), len(xs))
    top, left, bottom, right = largest_rectangle(covered)
    if bottom <= top or right <= left:
        return 0, 0, 0, 0
    edges = [int(xs[left]), int(ys[top]), int(xs[right - 1]), int(ys[bottom - 1])]
    return _grown(pair_map, edges)


def largest_rectangle(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The largest all-True rectangle of a mask, as `(top, left, bottom, right)`, end exclusive."""
    heights = np.zeros(mask.shape[1], int)
    best_area, best = 0, (0, 0, 0, 0)
    for row in range(mask.shape[0]):
        heights = np.where(mask[row], heights + 1, 0)
        stack: list[tuple[int, int]] = []  # (first column, height), heights growing
        for column, height in enumerate([*heights.tolist(), 0]):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                area = tall * (column - start)
                if area > best_area:
                    best_area, best = area, (row - tall + 1, start, row + 1, column)
            stack.append((start, height))
    return best


def _grown(pair_map: PairMap, edges: list[int]) -> Rectangle:
    """Move each edge of an inclusive rectangle outwards while the DSLR photo covers it."""
    limits = [0, 0, pair_map.phone_size[0] - 1, pair_map.phone_size[1] - 1]
    moving = [0, 1, 2, 3]
    step = max(1, max(pair_map.phone_size) // _CROP_NODES)
    while step:
        for edge in moving:
            while True:
                moved = edges[edge] + (-step if edge < 2 else step)
                within = moved >= 0 if edge < 2 else moved <= limits[edge]
                # Only the strip that the edge sweeps needs to be checked.
                swept = list(edges)
                swept[edge - 2], swept[edge] = edges[edge], moved
                if not within or not _covered(pair_map, _outline(swept)).all():
                    break
                edges[edge] = moved
        step //= 2
    left, top, right, bottom = edges
    return left, top, right - left + 1, bottom - top + 1


def _outline(edges: list[int]) -> Points:
    left, top, right, bottom = edges
    xs = np.append(np.arange(left, right, 4), right).astype(float)
    ys = np.append(np.arange(top, bottom, 4), bottom).astype(float)
    horizontal = grid_points(xs, np.array([top, bottom], float))
    vertical = grid_points(np.array([left, right], float), ys)
    return np.concatenate([horizontal, vertical])


def _nodes(size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    step = max(1, max(size) // _CROP_NODES)
    return np.arange(0, size[0], step, dtype=float), np.arange(0, size[1], step, dtype=float)


def _covered(pair_map: PairMap, points: Points) -> NDArray[np.bool_]:
    mapped = pair_map(points)
    last = np.array(pair_map.dslr_size) - 1 - _MARGIN
    return np.all((mapped >= _MARGIN) & (mapped <= last), axis=1)


def crop_phone(phone: NDArray[np.uint8], crop: Rectangle) -> NDArray[np.uint8]:
    """A copy of the crop `(x, y, width, height)` of the phone photo `(H, W, 3) uint8`.

    Raises
    ------
    TypeError, ValueError
        If `phone` is not an array of this type or shape, or does not contain the crop.
    """
    check_photo("phone", phone)
    x, y, width, height = crop
    if min(x, y, width, height) < 0 or x + width > phone.shape[1] or y + height > phone.shape[0]:
        raise ValueError(f"the crop {tuple(crop)} reaches beyond a photo of shape {phone.shape}")
    return np.ascontiguousarray(phone[y : y + height, x : x + width])


def resample_dslr(dslr: NDArray[np.uint8], pair_map: PairMap, crop: Rectangle) -> NDArray[np.uint8]:
    """The DSLR photo resampled to the pixels of the phone crop.

    A phone pixel is the mean over its square. To match that, the DSLR photo is smoothed on its own
    pixel grid by the same amount, then sampled once by cubic interpolation, or several times per
    pixel if the DSLR photo has a much finer scale.

    Parameters
    ----------
    dslr : (H, W, 3) uint8 array
    pair_map : PairMap
    crop : tuple of int
        `(x, y, width, height)` in the phone photo.

    Returns
    -------
    (height, width, 3) uint8 array

    Raises
    ------
    TypeError, ValueError
        If `dslr` is not an array of this type or shape, or its size is not that of the map.
    """
    check_photo("dslr", dslr)
    if (dslr.shape[1], dslr.shape[0]) != tuple(pair_map.dslr_size):
        expected = (*reversed(pair_map.dslr_size), 3)
        raise ValueError(f"dslr has the shape {dslr.shape}, but the map is for {expected}")
    x, y, width, height = crop
    samples, taps = sampling(pair_map.scale_at(centre_of(pair_map.phone_size)))
    smooth = cv2.sepFilter2D(dslr, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    result = np.empty((height, width, 3), np.uint8)
    source = PixelMap(pair_map, (x, y), (width, height), samples)
    for top in range(0, height, _STRIP):
        rows = min(_STRIP, height - top)
        maps = source.rows(top, top + rows)
        strip = cv2.remap(smooth, maps, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if samples > 1:
            strip = cv2.resize(strip, (width, rows), interpolation=cv2.INTER_AREA)
        result[top : top + rows] = strip
    return result


def sampling(scale: float) -> tuple[int, NDArray[np.float64]]:
    """Samples per crop pixel along each axis, and the taps of the filter before sampling.

    The three taps have the variance of a box of a sample's width s, s^2 / 12, and slightly more to
    compensate for the sharpening of cubic interpolation.

    Parameters
    ----------
    scale : float
        DSLR pixels per phone pixel.
    """
    samples = int(np.ceil(scale / _MAX_STEP))
    variance = (scale / samples) ** 2 / 12 + 0.02
    return samples, np.array([variance / 2, 1 - variance, variance / 2])


class PixelMap:
    """The source point of each pixel of a window, interpolated on a coarse grid of nodes.

    `rows` gives it in the form that `cv2.remap` expects.

    Parameters
    ----------
    to_source : callable
        Maps window points `(N, 2)` to source points `(N, 2)`.
    corner, size : tuple of int
        `(x, y)` and `(width, height)` of the window in px.
    per_pixel : int
        Samples per pixel along each axis, at the centres of equal subpixels.

    Attributes
    ----------
    nodes : (R, C, 2) array
        Source points of the centres of 8 px squares that tile the window, with one more square
        beyond each edge.
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
