"""Choose the model of a pair: a rigid map, a smooth field on top of it, or several surfaces.

Two cameras side by side see near objects displaced against far ones. A scene with one surface needs
a rigid map, or a smooth field where that surface is curved. Otherwise there are several surfaces,
each with a displacement of its own.

A field models slight parallax and curved paper, but on a rigid scene it overfits noise. So it is
used only where cross-validation shows that it predicts held-out blocks clearly better, with the
stiffness that predicts best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.align.fit import FIELD, HOMOGRAPHY, RADIAL, CrossValidation, Fit, fit_map, tile_of
from dpedkit.align.flow import CellFlow, cell_flow
from dpedkit.align.refine import (
    CONVERGED,
    NEARLY_CONVERGED,
    NOISE_FACTOR,
    Level,
    Refined,
    StepLength,
    blocks_of,
    bounded,
    observe_level,
)
from dpedkit.align.segment import several_surfaces
from dpedkit.align.smoothing import smooth_at
from dpedkit.align.validity import FittedMap, one_surface
from dpedkit.geometry import PairMap, centre_of

# One surface or several
_NO_DEPTH = 0.03  # share of the detail that may contradict one surface in a scene without depth
_MIN_MORE = 1.02  # factor by which several surfaces must put more detail in place
_MIN_EXPLAINED = 0.3  # minimum share of the detail that several surfaces put in place
_SURE, _CLEARER = 0.85, 0.1  # shares of the detail in place
_NO_BETTER, _MUCH_BETTER = 0.9, 0.7  # misfit of several surfaces relative to that of one
# The same, relative to a rigid map: below it, a smooth field is not tried. On real scenes with
# depth it is 0.2 to 0.7, and that of a field 0.4 to 1.0; on real flat scenes it is above 0.85.
_FAR_BETTER = 0.5
# A smooth field bends around an edge between near and far, and hides it from the mean over the
# photo. So both are also compared where they differ, by this many px of the working image or more.
# On pairs of known truth, they do in 14 to 20% of the detail of two layers, where the misfit of
# surfaces is 0.23 to 0.47 of the field's; in 0 to 6% of the detail of one curved surface.
_DIFFERENT, _MIN_DIFFERENT, _BETTER_THERE = 0.3, 0.1, 0.55
_HARDLY_FEWER = 1.05  # factor by which they may put less detail in place then
# Flow of one smooth surface: smoothing it with this width, relative to the photo's longer side,
# changes most of it by less than the error.
_ONE_WIDTH, _ONE_ERROR, _ONE_SHARE = 0.036, 0.35, 0.85  # share, px of the working image, share

# The smooth field
# Candidate stiffnesses: standard deviation of the second differences of the control points, in px
# of the working image.
_BENDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_WORSE = 2  # stop after this many softer fields in a row that predict worse than the best one
_MIN_GAIN = 0.01  # relative gain in prediction below which a field is not used
_MIN_SIGMAS = 3.0  # standard errors by which the mean gain must exceed zero
_FIELD_STEPS = 4  # maximum per size
_ALIKE = 0.3  # NCC from which on two blocks show the same; unrelated ones have 0 +- 0.1
_MIN_ALIKE = 50  # with fewer such blocks, all blocks are used
_FAR = 0.15  # px of the working image: error of the rigid map that suggests parallax


def fit_depth(pyramid: list[Level], refined: Refined, allow_depth: bool) -> FittedMap:
    """Extend a rigid map by the depth of the scene, if there is any.

    Parameters
    ----------
    pyramid : list of Level
        Smallest first.
    refined : Refined
        The rigid map.
    allow_depth : bool
        If false, the map stays rigid, and only its validity is determined.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the cells of a surface do not determine its map, for example if all lie on one line.
    """
    level, fit = pyramid[-1], refined.fit
    cells = refined.observed if refined.converged else None
    rigid = one_surface(level, fit, RADIAL, fit.map, cells)
    if not allow_depth:
        return rigid
    if rigid.contradicted < _NO_DEPTH:
        return _with_field(pyramid, refined) or rigid
    flow = cell_flow(rigid.grid, fit.map)
    several = several_surfaces(rigid.grid, fit, flow)
    if several is not None and not _is_smooth(flow):
        sure = several.in_place >= _SURE or several.misfit() < _FAR_BETTER * rigid.misfit()
        if sure and _fits_better(several, rigid):
            return several
    one = _with_field(pyramid, refined) or rigid
    if several is not None and not _fits_better(several, one):
        several = None
    return _at_best_size(pyramid, one, several)


def _at_best_size(pyramid: list[Level], one: FittedMap, several: FittedMap | None) -> FittedMap:
    """One surface or several, whichever fits; also judged at the next smaller size, since noise
    hides detail at the largest size first."""
    found = several or one
    if several is not None and (
        _fits_much_better(several, one) or _fits_better_where_different(several, one)
    ):
        return several
    if len(pyramid) > 1 and found.in_place < _SURE:
        clearer = one_surface(pyramid[-2], one.fit, one.model, one.map)
        if clearer.in_place > found.in_place + _CLEARER:
            return clearer
    return found


def _with_field(pyramid: list[Level], refined: Refined) -> FittedMap | None:
    """The map with a smooth field, if it predicts better; see `choose_model`."""
    chosen = choose_model(pyramid, refined)
    if chosen.model == RADIAL:
        return None
    return one_surface(pyramid[-1], chosen, FIELD, chosen.map)


def _fits_better(several: FittedMap, one: FittedMap) -> bool:
    """Whether several surfaces fit the detail clearly better than one does."""
    if several.in_place < _MIN_EXPLAINED:
        return False
    if several.in_place < _SURE and several.misfit() > _NO_BETTER * one.misfit():
        return False
    found, found_by_one = several.verified.sum(), one.verified.sum()
    return bool(
        found > _MIN_MORE * found_by_one
        or (found > found_by_one / _MIN_MORE and _fits_much_better(several, one))
        or (found > found_by_one / _HARDLY_FEWER and _fits_better_where_different(several, one))
    )


def _fits_much_better(several: FittedMap, one: FittedMap) -> bool:
    return several.misfit() < _MUCH_BETTER * one.misfit()


def _fits_better_where_different(several: FittedMap, one: FittedMap) -> bool:
    """Whether the maps differ in much of the detail, and several surfaces fit it clearly better."""
    if several.grid.shape != one.grid.shape:
        return False
    points = several.grid.phone_points(several.grid.centres).reshape(-1, 2)
    scale = one.map.scale_at(centre_of(one.map.phone_size)) * one.grid.level.working_px
    apart = np.linalg.norm(several.map(points) - one.map(points), axis=1) / scale
    detail = several.view.textured & one.view.textured
    different = detail & (apart.reshape(detail.shape) > _DIFFERENT)
    if different.sum() < _MIN_DIFFERENT * detail.sum():
        return False
    return several.misfit(different) < _BETTER_THERE * one.misfit(different)


def _is_smooth(flow: CellFlow) -> bool:
    """Whether most of the flow is consistent with one smooth surface."""
    if not flow.valid.any():
        return False
    isotropic = np.broadcast_to([1.0, 0.0, 1.0], (*flow.valid.shape, 3))
    width = _ONE_WIDTH * max(flow.valid.shape)
    smoothed = smooth_at(flow.displacement, isotropic, flow.valid, width)
    missed = np.linalg.norm(flow.displacement[flow.valid] - smoothed, axis=1)
    return bool((missed < _ONE_ERROR).mean() > _ONE_SHARE)


def choose_model(pyramid: list[Level], refined: Refined) -> Fit:
    """Add a smooth field to a refined map if cross-validation favours it.

    Parameters
    ----------
    pyramid : list of Level
        Smallest first.
    refined : Refined
        The refined map, without a field.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the blocks of a fold do not determine a map, for example if all lie on one line.
    """
    rigid = refined.fit
    finest = _compare(pyramid[-1], *_last_seen(pyramid[-1], refined))
    begin = [pyramid[-1]]
    found = finest
    # At full working size, parallax of several pixels exceeds the reach of a linear step, so the
    # field is started one size below.
    if finest.errors[RADIAL] > _FAR * pyramid[-1].working_px:
        begin = pyramid[-2:]
        found = _compare(begin[0], rigid.map, _large_blocks(begin[0], rigid.map))
    if not (found.field_helps or finest.field_helps):
        return rigid
    fit = rigid
    for level in begin:
        if fit is not rigid:
            found = _compare(level, fit.map, _large_blocks(level, fit.map))
        last = level is begin[-1]
        fit = _fitted_field(level, found, CONVERGED if last else NEARLY_CONVERGED)
    return rigid if found.errors[FIELD] >= found.errors[RADIAL] else fit


@dataclass(frozen=True)
class _Comparison:
    under: PairMap  # the map that the blocks were measured under
    blocks: Blocks
    errors: dict[str, float]
    field_helps: bool
    bend: float  # of the best field, phone px


def _last_seen(level: Level, refined: Refined) -> tuple[PairMap, Blocks]:
    """Large blocks, and the map that they were measured under.

    A converged step is so short that the observation before it is still valid.
    """
    if not refined.converged:
        return refined.fit.map, _large_blocks(level, refined.fit.map)
    return refined.under, blocks_of(refined.observed, level, level.large_block)


def _compare(level: Level, current: PairMap, measured: Blocks) -> _Comparison:
    """Cross-validate all models on block shifts measured under the current map."""
    blocks = _alike(measured, level)
    bends = [bend * level.working_px for bend in _BENDS]
    found = CrossValidation(current, blocks, NOISE_FACTOR, bends[len(bends) // 2])
    bend, field = _best_field(found, blocks, bends)
    residuals = {HOMOGRAPHY: found.homography(), RADIAL: found.radial(), FIELD: field}
    with_field = _loss(blocks, field)
    gain = _loss(blocks, residuals[RADIAL]) - with_field
    helps = gain.mean() > _MIN_GAIN * with_field.mean() and _is_significant(
        gain, tile_of(blocks.points, current.phone_size)
    )
    precise = blocks.sigma() <= np.median(blocks.sigma())
    errors = {
        name: round(float(np.median(np.linalg.norm(values[precise], axis=1))), 4)
        for name, values in residuals.items()
    }
    return _Comparison(current, measured, errors, helps, bend)


def _best_field(
    found: CrossValidation, blocks: Blocks, bends: list[float]
) -> tuple[float, NDArray[np.float64]]:
    """The stiffness that predicts best, and its residuals, searched from the stiffest field on."""
    lowest, best, worse = np.inf, (bends[0], blocks.shift), 0
    for bend in bends:
        residuals = found.field(bend)
        loss = float(_loss(blocks, residuals).mean())
        if loss < lowest:
            lowest, best, worse = loss, (bend, residuals), 0
        else:
            worse += 1
            if worse == _WORSE:
                break
    return best


def _fitted_field(level: Level, found: _Comparison, converged: float) -> Fit:
    """Fit the field to the blocks of a comparison, then to the residual shifts."""
    current, blocks = found.under, found.blocks
    step_length = StepLength(converged=converged)
    for step in range(_FIELD_STEPS):
        if step:
            blocks = _large_blocks(level, current)
        lengthened = step_length.lengthened(_alike(blocks, level))
        before, fit = current, fit_map(current, lengthened, NOISE_FACTOR, FIELD, found.bend)
        current = fit.map
        if step_length.converges(before, current, level):
            break
    return fit


def _large_blocks(level: Level, current: PairMap) -> Blocks:
    return blocks_of(observe_level(level, current), level, level.large_block)


def _alike(blocks: Blocks, level: Level) -> Blocks:
    """Drop blocks where the photos show different things: water, leaves, passers-by.

    They are outliers to a homography. A field is local, so it would fit their random shifts
    wherever there are no other blocks.
    """
    alike = blocks.ncc > _ALIKE
    return bounded(blocks.where(alike) if alike.sum() > _MIN_ALIKE else blocks, level)


def _loss(blocks: Blocks, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Robust loss of each block: the negative log-likelihood of a Cauchy distribution."""
    squared = np.einsum("ni,nij,nj->n", residuals, blocks.information / NOISE_FACTOR, residuals)
    return np.log1p(squared / 6)


def _is_significant(gain: NDArray[np.float64], tile: NDArray[np.int64]) -> bool:
    """Whether the mean gain is significantly above zero; blocks of a tile are correlated."""
    _, place = np.unique(tile, axis=0, return_inverse=True)
    counts = np.bincount(place)
    means = np.bincount(place, gain) / counts
    scatter = np.sqrt(np.average((means - gain.mean()) ** 2, weights=counts) / len(counts))
    return bool(gain.mean() > _MIN_SIGMAS * scatter)
