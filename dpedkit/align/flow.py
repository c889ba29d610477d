"""Dense optical flow between the two photos under a map, cell by cell, where both directions agree.

Dense inverse search (Kroeger et al., ECCV 2016) follows displacements of tens of pixels, which
block shifts by themselves do not. It smooths over edges between near and far and is right to about
a tenth of a pixel, so it says which surfaces there are, and the block shifts say where they lie.
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

_LEVELS = 40.0  # grey levels per deviation of the locally normalised photos
_AGREEMENT = 1.0  # px by which the flow there and back may miss its start, per axis
_MIN_SHARE = 0.6  # of a cell's pixels must agree
_MAX_SPREAD = 1.2  # px; a cell whose flow varies more lies on an edge


@dataclass(frozen=True)
class CellFlow:
    """Mean flow of each cell.

    Attributes
    ----------
    displacement : (R, C, 2) array
        px of the working image: the warped DSLR photo at `centre + displacement` shows what the
        phone photo shows at the centre.
    valid : (R, C) bool array
        Where there is detail to follow and both directions agree.
    """

    displacement: Displacements
    valid: NDArray[np.bool_]


def cell_flow(grid: Grid, current: PairMap) -> CellFlow:
    """Flow from the phone photo to the DSLR photo warped by `current`."""
    moved, shown = warped(grid.level, current)
    first, second = _as_grey(grid.level.phone), _as_grey(moved)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    there = search.calc(first, second, None)
    back = search.calc(second, first, None)
    height, width = first.shape
    target = there.copy()
    target[..., 0] += np.arange(width, dtype=np.float32)
    target[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    # One look-up for both: the flow back, and whether the DSLR photo shows anything there.
    returned = cv2.remap(
        cv2.merge([back[..., 0], back[..., 1], np.where(shown, 0, 1e3).astype(np.float32)]),
        target,
        None,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(1e3, 1e3, 1e3),
    )
    missed = cv2.max(
        cv2.max(cv2.absdiff(there[..., 0], -returned[..., 0]), returned[..., 2]),
        cv2.absdiff(there[..., 1], -returned[..., 1]),
    )
    agreeing = (missed < _AGREEMENT).astype(np.float32)
    x, y = there[..., 0] * agreeing, there[..., 1] * agreeing
    share, mean_x, mean_y, square = (
        _cell_means(plane, grid.shape)
        for plane in (agreeing, x, y, x * there[..., 0] + y * there[..., 1])
    )
    share_there = np.maximum(share, 1e-6)
    mean = np.stack([mean_x, mean_y], axis=-1) / share_there[..., None]
    variance = square / share_there - (mean**2).sum(axis=2)
    valid = grid.textured & (share > _MIN_SHARE) & (variance < _MAX_SPREAD**2)
    return CellFlow(mean, valid)


def _as_grey(normalised: NDArray[np.float32]) -> NDArray[np.uint8]:
    return cv2.convertScaleAbs(cv2.max(normalised + 128 / _LEVELS, 0), alpha=_LEVELS)


def _cell_means(plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float64]:
    rows, columns = shape
    down, right = rows * SIDE - plane.shape[0], columns * SIDE - plane.shape[1]
    whole = cv2.copyMakeBorder(plane, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = (columns, rows)
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float64)
