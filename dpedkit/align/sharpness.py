"""How blurred a photo is, seen at its sharpest edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_TILE = 64  # px: wide enough to hold both sides of an edge of 8 px blur
_TILES = 400  # looked at, at most; they sample the photo evenly
_OUTLIERS = 0.01  # of a tile's pixels may be brighter, and as many darker, than its contrast
_STRONG = 0.4  # of the largest contrast of a tile: fainter ones are mostly noise
_SHARPEST = 10  # percentile: most of a good photo may be sky or out of focus


def edge_blur(grey: NDArray[np.uint8]) -> float:
    """Standard deviation in px of the blur of a photo's sharpest edges; inf where it has none.

    A step of height c, blurred by a Gaussian of deviation s, is nowhere steeper than
    c / (s sqrt(2 pi)). Detail finer than an edge, and noise, count as sharp.

    Parameters
    ----------
    grey : (H, W) uint8 array
    """
    tiles = _tiles(grey)
    ordered = np.sort(tiles.reshape(len(tiles), -1), axis=1, kind="stable")  # a radix sort
    edges = _OUTLIERS * ordered.shape[1]
    contrast = ordered[:, -1 - round(edges)].astype(np.float64) - ordered[:, round(edges)]
    strong = contrast > max(_STRONG * contrast.max(), 2.0)
    if not strong.any():
        return float("inf")
    # One tile below the other, without the rows where two of them meet
    column = tiles[strong].reshape(-1, tiles.shape[2]).astype(np.float32)
    smooth = cv2.blur(column, (3, 3))
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    steepness = cv2.magnitude(dx, dy).reshape(-1, *tiles.shape[1:])[:, 2:-2]
    steepest = steepness.max(axis=(1, 2))
    blur = contrast[strong] / (np.sqrt(2 * np.pi) * np.maximum(steepest, 1e-6))
    return float(np.percentile(blur, _SHARPEST))


def _tiles(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, tile, tile) tiles, evenly taken."""
    rows, columns = (max(1, side // _TILE) for side in grey.shape)
    height, width = (min(_TILE, side) for side in grey.shape)
    whole = grey[: rows * height, : columns * width].reshape(rows, height, columns, width)
    step = -(-rows * columns // _TILES)
    row, column = np.divmod(np.arange(0, rows * columns, step), columns)
    return whole[row, :, column]
