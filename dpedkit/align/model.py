"""Which model a pair needs: a rigid map, a smooth field on top, or several surfaces.

Two cameras side by side see near things displaced against far ones. Where one surface is all there
is, it may be rigid or bend; otherwise there are several, each with a displacement of its own.

A field follows parallax and bent paper, but on a rigid scene it follows noise. So it is used only
where it predicts the shifts of blocks that it was not fitted to clearly better, and its stiffness
is the one that predicts best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.align.fit import FIELD, HOMOGRAPHY, RADIAL, CrossValidation, Fit, fit_map, tile_of
from dpedkit.align.holding import Followed, one_surface
from dpedkit.align.refine import (
    NOISE_FACTOR,
    Level,
    Refined,
    Stride,
    blocks_of,
    bounded,
    observe_level,
)
from dpedkit.align.segment import CellFlow, cell_flow, several_surfaces
from dpedkit.align.smoothing import smooth_at
from dpedkit.geometry import PairMap

# One surface or several
_PLAIN = 0.03  # share of the detail that may contradict one surface where there is no depth
_MIN_MORE = 1.02  # detail put in place by several surfaces, as a factor, that makes them worth it
_MIN_EXPLAINED = 0.3  # share of the detail that several surfaces must put in place
_SURE, _CLEARER = 0.85, 0.1  # shares of the detail in place
_NO_BETTER, _MUCH_BETTER = 0.9, 0.7  # misfit of several surfaces over that of one
# Flow of one surface: smoothed over this part of the photo's longer side, most changes little.
_ONE_WIDTH, _ONE_ERROR, _ONE_SHARE = 0.036, 0.35, 0.85  # share, px of the working image, share

# The smooth field
# Candidate stiffnesses: how far a control point may lie from the line through its neighbours, in
# px of the working image.
_BENDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_WORSE = 2  # softer fields in a row that predict worse than the best before end the search
_MIN_GAIN = 0.01  # relative: a field that predicts less than a hundredth better is not worth it
_MIN_SIGMAS = 3.0  # and the gain must stand out from its scatter over the photo
_FIELD_STEPS = 4  # at most, a size
_ALIKE = 0.3  # NCC of locally normalised blocks that show the same; it is 0 +- 0.1 by chance
_MIN_ALIKE = 50  # with fewer, all are used
_FAR = 0.15  # px of the working image: an error of the rigid map that may come from parallax


def follow(pyramid: list[Level], refined: Refined, allow_depth: bool) -> Followed:
    """Follow the depth of the scene, as far as there is any.

    Parameters
    ----------
    pyramid : list of Level
        Smallest first.
    refined : Refined
        The rigid map.
    allow_depth : bool
        Otherwise the map stays rigid, and only where it holds is found out.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the cells that show one surface do not determine its map, as when all lie on one line.
    """
    level, fit = pyramid[-1], refined.fit
    cells = refined.observed if refined.settled else None
    rigid = one_surface(level, fit, RADIAL, fit.map, cells)
    if not allow_depth:
        return rigid
    if rigid.contradicted < _PLAIN:
        return _bent(pyramid, refined) or rigid
    flow = cell_flow(rigid.grid, fit.map)
    several = several_surfaces(rigid.grid, fit, flow)
    doubtful = several is None or several.in_place < _SURE or _is_smooth(flow)
    if several is not None and not doubtful and _fits_better(several, rigid):
        return several
    one = _bent(pyramid, refined) or rigid
    if several is not None and not _fits_better(several, one):
        several = None
    return _in_clear_sight(pyramid, one, several)


def _in_clear_sight(pyramid: list[Level], one: Followed, several: Followed | None) -> Followed:
    """The one or the several surfaces, whichever holds; judged at the next smaller size, too, since
    noise hides detail at the largest size first."""
    found = several or one
    if several is not None and _fits_much_better(several, one):
        return several
    if len(pyramid) > 1 and found.in_place < _SURE:
        clearer = one_surface(pyramid[-2], one.fit, one.model, one.map)
        if clearer.in_place > found.in_place + _CLEARER:
            return clearer
    return found


def _bent(pyramid: list[Level], refined: Refined) -> Followed | None:
    """The map with a smooth field, where that predicts better; see `model.choose_model`."""
    chosen = choose_model(pyramid, refined)
    if chosen.model == RADIAL:
        return None
    return one_surface(pyramid[-1], chosen, FIELD, chosen.map)


def _fits_better(several: Followed, one: Followed) -> bool:
    """Whether several surfaces fit the detail clearly better than one."""
    if several.in_place < _MIN_EXPLAINED:
        return False
    if several.in_place < _SURE and several.misfit() > _NO_BETTER * one.misfit():
        return False
    found, found_by_one = several.verified.sum(), one.verified.sum()
    return bool(
        found > _MIN_MORE * found_by_one
        or (found > found_by_one / _MIN_MORE and _fits_much_better(several, one))
    )


def _fits_much_better(several: Followed, one: Followed) -> bool:
    return several.misfit() < _MUCH_BETTER * one.misfit()


def _is_smooth(flow: CellFlow) -> bool:
    """Whether most of the flow may be that of one smooth surface."""
    if not flow.valid.any():
        return False
    isotropic = np.broadcast_to([1.0, 0.0, 1.0], (*flow.valid.shape, 3))
    width = _ONE_WIDTH * max(flow.valid.shape)
    smoothed = smooth_at(flow.displacement, isotropic, flow.valid, width)
    missed = np.linalg.norm(flow.displacement - smoothed, axis=2)[flow.valid]
    return bool((missed < _ONE_ERROR).mean() > _ONE_SHARE)


def choose_model(pyramid: list[Level], refined: Refined) -> Fit:
    """Add a smooth field to a refined map where cross-validation says that it helps.

    Parameters
    ----------
    pyramid : list of Level
        Smallest first.
    refined : Refined
        The refined map, without a field.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the blocks of a part of the photo do not determine a map, as when all lie on one line.
    """
    rigid = refined.fit
    finest = _compare(pyramid[-1], *_last_seen(pyramid[-1], refined))
    begin = [pyramid[-1]]
    found = finest
    # Parallax of several pixels is out of reach of a linear step at full working size, so there
    # the field begins one size below.
    if finest.errors[RADIAL] > _FAR * pyramid[-1].working_px:
        begin = pyramid[-2:]
        found = _compare(begin[0], rigid.map, _large_blocks(begin[0], rigid.map))
    if not (found.field_helps or finest.field_helps):
        return rigid
    fit = rigid
    for level in begin:
        if fit is not rigid:
            found = _compare(level, fit.map, _large_blocks(level, fit.map))
        fit = _fitted_field(level, found)
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

    A step that settles is so short that it is not worth looking again after it.
    """
    if not refined.settled:
        return refined.fit.map, _large_blocks(level, refined.fit.map)
    return refined.under, blocks_of(refined.observed, level, level.large_block)


def _compare(level: Level, current: PairMap, measured: Blocks) -> _Comparison:
    """Cross-validate all models on the shifts that blocks show under the current map."""
    blocks = _alike(measured, level)
    bends = [bend * level.working_px for bend in _BENDS]
    found = CrossValidation(current, blocks, NOISE_FACTOR, bends[len(bends) // 2])
    bend, field = _best_field(found, blocks, bends)
    residuals = {HOMOGRAPHY: found.homography(), RADIAL: found.radial(), FIELD: field}
    with_field = _loss(blocks, field)
    gain = _loss(blocks, residuals[RADIAL]) - with_field
    helps = gain.mean() > _MIN_GAIN * with_field.mean() and _stands_out(
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
    """The stiffness that predicts best, and its residuals; from the stiffest field on."""
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


def _fitted_field(level: Level, found: _Comparison) -> Fit:
    """Fit the field to the blocks of a comparison, then to what is left."""
    current, blocks, stride = found.under, found.blocks, Stride()
    for step in range(_FIELD_STEPS):
        if step:
            blocks = _large_blocks(level, current)
        lengthened = stride.lengthened(_alike(blocks, level))
        before, fit = current, fit_map(current, lengthened, NOISE_FACTOR, FIELD, found.bend)
        current = fit.map
        if stride.settles(before, current, level):
            break
    return fit


def _large_blocks(level: Level, current: PairMap) -> Blocks:
    return blocks_of(observe_level(level, current), level, level.large_block)


def _alike(blocks: Blocks, level: Level) -> Blocks:
    """Without the blocks where the photos show different things: water, leaves, passers-by.

    A homography outvotes them; a field, which bends locally, would follow their chance shifts
    wherever there are no others.
    """
    alike = blocks.ncc > _ALIKE
    return bounded(blocks.where(alike) if alike.sum() > _MIN_ALIKE else blocks, level)


def _loss(blocks: Blocks, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Robust loss of each block: the logarithm of a Cauchy density."""
    squared = np.einsum("ni,nij,nj->n", residuals, blocks.information / NOISE_FACTOR, residuals)
    return np.log1p(squared / 6)


def _stands_out(gain: NDArray[np.float64], tile: NDArray[np.int64]) -> bool:
    """Whether the mean gain of the tiles is clearly above zero; blocks in a tile are related."""
    _, place = np.unique(tile, axis=0, return_inverse=True)
    counts = np.bincount(place)
    means = np.bincount(place, gain) / counts
    scatter = np.sqrt(np.average((means - gain.mean()) ** 2, weights=counts) / len(counts))
    return bool(gain.mean() > _MIN_SIGMAS * scatter)
