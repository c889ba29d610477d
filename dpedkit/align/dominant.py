"""Fit the rigid map to the dominant surface of a scene with depth, the one that covers most of it.

Optical flow tells which cells lie on it, and the block shifts of these cells give the map its
precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.align.detail import SIDE, Grid
from dpedkit.align.features import is_plausible
from dpedkit.align.fit import RADIAL, Fit, fit_map
from dpedkit.align.flow import CellFlow
from dpedkit.align.refine import NOISE_FACTOR, blocks_of, bounded, observe_level
from dpedkit.geometry import PairMap, Points, centre_of

_CLOSE = 0.5  # px of the working image: cells with less flow are in place
_RANSAC_PX = 0.4  # px of the working image
_FLOW_SIGMA = 0.1  # px of the working image
_FLOW_TOLERANCE = 1e-3  # px of the phone photo
_FLOW_STEPS, _BLOCK_STEPS = 8, 2
_FLOW_SAMPLE = 500  # cells, enough for eleven parameters
_GROWS = 1.005  # factor by which the cells in place must grow for another step
_BETTER = 1.02  # factor by which another candidate must put more cells in place
_MAX_RADIAL = 0.2  # of any coefficient of the lens distortion
_NOWHERE = 1e6  # px
_MIN_FIT_CELLS, _MIN_FIT_SHARE = 40, 0.15  # minimum for a fit to block shifts
_CONVERGED = 0.02  # px of the working image


def dominant_surface(grid: Grid, start: Fit, flow: CellFlow) -> tuple[Fit, CellFlow]:
    """Fit the rigid map to the dominant surface: the one with most cells in place.

    A robust fit to all blocks can end up between two surfaces, or on the smaller one. The flow is
    dense and mostly right, so candidates are compared by the number of cells they put in place.

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
        The same flow relative to the new map.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the cells do not determine a map.
    """
    best, seen = start, flow
    there = _targets(grid, start.map, flow)
    for candidate in _candidates(grid, start.map, flow, there):
        under = _flow_under(grid, candidate.map, flow, there)
        fit, under = _fit_to_flow(grid, candidate, under, there)
        if _close(under).sum() > _BETTER * _close(seen).sum() or fit is start:
            best, seen = fit, under
    if _close(seen).sum() >= _MIN_FIT_SHARE * flow.valid.sum():
        best, seen = _fit_to_blocks(grid, best, seen, there)
    # Nothing may have been fitted to a candidate.
    return (best, seen) if best.information.size else (start, flow)


def _candidates(grid: Grid, rigid: PairMap, flow: CellFlow, there: Points) -> Iterator[Fit]:
    """The rigid map, and the largest plane by RANSAC with and without the lens distortion of the
    rigid map: fitted across two depths, that distortion is meaningless."""
    nothing = Fit(rigid, RADIAL, np.zeros(0), 0.0, np.zeros((0, 0)))
    if _plausible(rigid):
        yield nothing
    if flow.valid.sum() < _MIN_FIT_CELLS:
        return
    here = grid.phone_points(grid.centres[flow.valid])
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


def _fit_to_flow(grid: Grid, fit: Fit, flow: CellFlow, there: Points) -> tuple[Fit, CellFlow]:
    """Fit to the flow of the cells in place while their number grows."""
    for _ in range(_FLOW_STEPS):
        close = _close(flow)
        if close.sum() < _MIN_FIT_CELLS:
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
        under = _flow_under(grid, larger.map, flow, there)
        if _close(under).sum() <= _GROWS * close.sum():
            break
        fit, flow = larger, under
    return fit, flow


def _fit_to_blocks(grid: Grid, fit: Fit, flow: CellFlow, there: Points) -> tuple[Fit, CellFlow]:
    """Fit to the block shifts of the cells in place, which are more accurate than the flow."""
    level = grid.level
    for _ in range(_BLOCK_STEPS):
        blocks = blocks_of(observe_level(level, fit.map), level, SIDE)
        column, row = np.floor((blocks.points + 0.5) / grid.cell).astype(int).T
        kept = _close(flow)[row, column]
        if kept.sum() < _MIN_FIT_CELLS:
            break
        finer = fit_map(fit.map, bounded(blocks.where(kept), level), NOISE_FACTOR, RADIAL)
        if not _plausible(finer.map):
            break
        under = _flow_under(grid, finer.map, flow, there)
        moved = np.linalg.norm(under.displacement - flow.displacement, axis=2)[_close(flow)]
        fit, flow = finer, under
        if moved.mean() < _CONVERGED:
            break
    return fit, flow


def _targets(grid: Grid, current: PairMap, flow: CellFlow) -> Points:
    """Where the DSLR photo shows the centres of the valid cells, `(N, 2)` full-size px, by the flow
    under the current map."""
    return current(grid.phone_points((grid.centres + flow.displacement)[flow.valid]))


def _flow_under(grid: Grid, current: PairMap, flow: CellFlow, there: Points) -> CellFlow:
    """The flow of the valid cells relative to another map, from their targets."""
    # Extrapolated maps may diverge; the cells there get a huge displacement.
    with np.errstate(all="ignore"):
        moved = current.inverse(there, _FLOW_TOLERANCE) - grid.phone_points(
            grid.centres[flow.valid]
        )
    displacement = np.zeros_like(flow.displacement)
    displacement[flow.valid] = np.nan_to_num(
        moved / grid.level.working_px, nan=_NOWHERE, posinf=_NOWHERE
    )
    return replace(flow, displacement=displacement)


def _plausible(rigid: PairMap) -> bool:
    """Whether a rigid map is plausible for two cameras side by side. Fitted to a small part of the
    photo, it may be anything elsewhere."""
    if not is_plausible(rigid.phone_to_dslr, rigid.phone_size, rigid.dslr_size):
        return False
    return max(map(abs, rigid.radial)) < _MAX_RADIAL


def _close(flow: CellFlow) -> NDArray[np.bool_]:
    return flow.valid & (np.linalg.norm(flow.displacement, axis=2) < _CLOSE)
