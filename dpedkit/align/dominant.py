"""The rigid map of the surface that most of the photo shows, when the scene has several.

A robust fit to all blocks can settle between two surfaces, or on the smaller one. The optical flow
is dense and mostly right, so candidates can be counted: how many cells each puts in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.align.coarse import is_sane
from dpedkit.align.detail import SIDE, Grid
from dpedkit.align.fit import RADIAL, Fit, fit_map
from dpedkit.align.flow import CellFlow
from dpedkit.align.refine import NOISE_FACTOR, blocks_of, bounded, observe_level
from dpedkit.geometry import PairMap, centre_of

_CLOSE = 0.5  # px of the working image: cells that a map puts in place
_RANSAC_PX = 0.4  # px of the working image
_FLOW_SIGMA = 0.1  # px of the working image
_FLOW_STEPS, _BLOCK_STEPS = 8, 2
_FLOW_SAMPLE = 500  # cells are enough for eleven parameters
_GROWS = 1.005  # more cells in place, as a factor, that make another step worth it
_BETTER = 1.02
_MAX_RADIAL = 0.2
_NOWHERE = 1e6  # px
_MIN_CELLS, _MIN_SHARE = 40, 0.15  # for a fit to block shifts
_SETTLED = 0.02  # px of the working image


def dominant_surface(grid: Grid, start: Fit, flow: CellFlow) -> tuple[Fit, CellFlow]:
    """Find the rigid map that puts most cells in place.

    Parameters
    ----------
    grid : Grid
    start : Fit
        The rigid map under which the flow was measured.
    flow : CellFlow

    Returns
    -------
    Fit
    CellFlow
        The same flow as it is seen under the new map.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the cells do not determine a map.
    """
    best, seen = start, flow
    for candidate in _candidates(grid, start.map, flow):
        fit, under = _grown(grid, candidate, _under(grid, start.map, candidate.map, flow))
        if _close(under).sum() > _BETTER * _close(seen).sum() or fit is start:
            best, seen = fit, under
    if _close(seen).sum() >= _MIN_SHARE * flow.valid.sum():
        best, seen = _polished(grid, best, seen)
    # A candidate that nothing was fitted to does not know how exact it is.
    return (best, seen) if best.covariance.size else (start, flow)


def _candidates(grid: Grid, rigid: PairMap, flow: CellFlow) -> Iterator[Fit]:
    """The rigid map, and the largest plane by RANSAC, with its lens and without any: lens
    coefficients that were fitted across two depths are no lens's."""
    nothing = Fit(rigid, RADIAL, np.zeros(0), 0.0, np.zeros((0, 0)))
    if _plausible(rigid):
        yield nothing
    if flow.valid.sum() < _MIN_CELLS:
        return
    here = grid.phone_points(grid.centres[flow.valid])
    there = rigid(grid.phone_points((grid.centres + flow.displacement)[flow.valid]))
    scale = rigid.scale_at(centre_of(rigid.phone_size)) * grid.level.working_px
    for lens in (rigid, replace(rigid, radial=(0.0, 0.0, 0.0))):
        homography, _ = cv2.findHomography(
            here + lens.displacement(here),
            there,
            cv2.USAC_FAST,
            _RANSAC_PX * scale,
            maxIters=3000,
            confidence=0.9999,
        )
        if homography is not None:
            plane = replace(lens, phone_to_dslr=homography / homography[2, 2])
            if _plausible(plane):
                yield replace(nothing, map=plane)


def _grown(grid: Grid, fit: Fit, flow: CellFlow) -> tuple[Fit, CellFlow]:
    """Fit to the flow of the cells in place, as long as more come into place."""
    for _ in range(_FLOW_STEPS):
        close = _close(flow)
        if close.sum() < _MIN_CELLS:
            break
        px = grid.level.working_px
        some = np.flatnonzero(close)[:: max(1, int(close.sum()) // _FLOW_SAMPLE)]
        count = len(some)
        blocks = Blocks(
            grid.phone_points(grid.centres.reshape(-1, 2)[some]),
            flow.displacement.reshape(-1, 2)[some] * px,
            np.tile(np.eye(2) / (_FLOW_SIGMA * px) ** 2, (count, 1, 1)),
            np.ones(count),
            np.ones((count, 2)),
        )
        larger = fit_map(fit.map, blocks, NOISE_FACTOR, RADIAL)
        if not _plausible(larger.map):
            break
        under = _under(grid, fit.map, larger.map, flow)
        if _close(under).sum() <= _GROWS * close.sum():
            break
        fit, flow = larger, under
    return fit, flow


def _polished(grid: Grid, fit: Fit, flow: CellFlow) -> tuple[Fit, CellFlow]:
    """Fit to the block shifts of the cells in place, which are exact where the flow is not."""
    level = grid.level
    for _ in range(_BLOCK_STEPS):
        blocks = blocks_of(observe_level(level, fit.map), level, SIDE)
        column, row = np.floor((blocks.points + 0.5) / grid.cell).astype(int).T
        kept = _close(flow)[row, column]
        if kept.sum() < _MIN_CELLS:
            break
        finer = fit_map(fit.map, bounded(blocks.where(kept), level), NOISE_FACTOR, RADIAL)
        if not _plausible(finer.map):
            break
        under = _under(grid, fit.map, finer.map, flow)
        moved = np.linalg.norm(under.displacement - flow.displacement, axis=2)[_close(flow)]
        fit, flow = finer, under
        if moved.mean() < _SETTLED:
            break
    return fit, flow


def _under(grid: Grid, before: PairMap, after: PairMap, flow: CellFlow) -> CellFlow:
    """The flow as it is seen under another map."""
    # Far from what they were fitted to, maps may run off; such places end up far away, or nowhere.
    with np.errstate(all="ignore"):
        return _carried(grid, before, after, flow)


def _carried(grid: Grid, before: PairMap, after: PairMap, flow: CellFlow) -> CellFlow:
    there = before(grid.phone_points(grid.centres + flow.displacement))
    moved = after.inverse(there) - grid.phone_points(grid.centres)
    displacement = (moved / grid.level.working_px).reshape(flow.displacement.shape)
    return replace(flow, displacement=np.nan_to_num(displacement, nan=_NOWHERE, posinf=_NOWHERE))


def _plausible(rigid: PairMap) -> bool:
    """Whether two cameras side by side may see that, through a lens that may be one: a map that
    was fitted to a small part of the photo can be anything elsewhere."""
    if not is_sane(rigid.phone_to_dslr, rigid.phone_size, rigid.dslr_size):
        return False
    return max(map(abs, rigid.radial)) < _MAX_RADIAL


def _close(flow: CellFlow) -> NDArray[np.bool_]:
    return flow.valid & (np.linalg.norm(flow.displacement, axis=2) < _CLOSE)
