"""Dense optical flow of the cells, between the phone photo and the warped DSLR photo.

DIS (Kroeger et al., ECCV 2016) finds displacements of tens of pixels, which are beyond the reach of
block shifts. It blurs depth discontinuities and is accurate to about a tenth of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.detail import SIDE, Grid
from dpedkit.align.refine import warped
from dpedkit.align.smoothing import Displacements
from dpedkit.geometry import PairMap

_LEVELS = 40.0  # grey levels per standard deviation of the locally normalised photos
_REDUCED = 4  # how many times smaller the images of the flow are
_MIN_SIDE = 12  # px of these images: OpenCV finds no flow in smaller ones
_AGREEMENT = 1.0  # px per axis: forward-backward error of the flow
_MIN_AGREEING = 0.6  # share of a cell's pixels whose flow is consistent
_MAX_SPREAD = 1.2  # px; a cell with more varied flow lies on a depth discontinuity


@dataclass(frozen=True)
class CellFlow:
    """Mean flow of each cell.

    Attributes
    ----------
    displacement : (R, C, 2) array
        px of the working image: the warped DSLR photo at `centre + displacement` matches the phone
        photo at `centre`.
    valid : (R, C) bool array
        Where there is texture and the forward and backward flow agree.
    """

    displacement: Displacements
    valid: NDArray[np.bool_]


def cell_flow(grid: Grid, current: PairMap) -> CellFlow:
    """Flow from the phone photo to the DSLR photo warped by `current`; none in tiny photos."""
    moved, shown = warped(grid.level, current)
    first, second = (_reduced(_as_grey(image)) for image in (grid.level.phone, moved))
    if min(first.shape) < _MIN_SIDE:
        return CellFlow(np.zeros((*grid.shape, 2)), np.zeros(grid.shape, bool))
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(0)  # the preset's, a quarter of the photo, is the size of these images
    there = search.calc(first, second, None)
    back = search.calc(second, first, None)
    height, width = first.shape
    target = there.copy()
    target[..., 0] += np.arange(width, dtype=np.float32)
    target[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    missing = 255 - _reduced(shown.astype(np.uint8) * 255).astype(np.float32)
    # One remap for both the backward flow and whether the DSLR photo covers the target.
    returned = cv2.remap(
        np.dstack([back, missing]),
        target,
        None,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(1e3, 1e3, 1e3),
    )
    missed = np.abs(there + returned[..., :2]).max(axis=2)
    agreeing = ((missed * _REDUCED < _AGREEMENT) & (returned[..., 2] < 1)).astype(np.float32)
    x, y = there[..., 0] * agreeing, there[..., 1] * agreeing
    planes = np.dstack([agreeing, x, y, x * there[..., 0] + y * there[..., 1]])
    share, mean_x, mean_y, square = np.moveaxis(_cell_means(planes, grid.shape), -1, 0)
    share_there = np.maximum(share, 1e-6)
    mean = np.stack([mean_x, mean_y], axis=-1) * (_REDUCED / share_there[..., None])
    variance = square * (_REDUCED**2 / share_there) - (mean**2).sum(axis=2)
    valid = grid.textured & (share > _MIN_AGREEING) & (variance < _MAX_SPREAD**2)
    return CellFlow(mean, valid)


def _as_grey(normalised: NDArray[np.float32]) -> NDArray[np.uint8]:
    return cv2.convertScaleAbs(cv2.max(normalised + 128 / _LEVELS, 0), alpha=_LEVELS)


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image at a quarter of its size, without up to three rows and columns at the end."""
    height, width = (side // _REDUCED for side in image.shape)
    whole = image[: height * _REDUCED, : width * _REDUCED]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _cell_means(planes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Means `(R, C, P)` of reduced planes `(H, W, P)` over cells."""
    (rows, columns), side = shape, SIDE // _REDUCED
    down, right = rows * side - planes.shape[0], columns * side - planes.shape[1]
    whole = cv2.copyMakeBorder(planes, 0, down, 0, right, cv2.BORDER_REPLICATE)
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float64)
