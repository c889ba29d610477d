"""From a rigid map to one that follows the depth of the scene, and says where it holds.

Two cameras side by side see near things displaced against far ones. Where one surface is all there
is, it may be rigid or bend; otherwise there are several, each with a displacement of its own.
"""

from __future__ import annotations

import numpy as np

from dpedkit.align.fit import FIELD, RADIAL
from dpedkit.align.flow import CellFlow, cell_flow
from dpedkit.align.holding import Followed, one_surface
from dpedkit.align.model import choose_model
from dpedkit.align.refine import Level, Refined
from dpedkit.align.segment import several_surfaces
from dpedkit.align.smoothing import smooth_at

_PLAIN = 0.03  # share of the detail that may contradict one surface where there is no depth
_MIN_GAIN = 1.02  # detail put in place by several surfaces, as a factor, that makes them worth it
_MIN_EXPLAINED = 0.3  # share of the detail that several surfaces must put in place
_SURE, _CLEARER = 0.85, 0.1  # shares of the detail in place
_NO_BETTER, _MUCH_BETTER = 0.9, 0.7  # misfit of several surfaces over that of one
# Flow of one surface: smoothed over this part of the photo's longer side, most changes little.
_ONE_WIDTH, _ONE_ERROR, _ONE_SHARE = 0.036, 0.35, 0.85  # share, px of the working image, share


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
        found > _MIN_GAIN * found_by_one
        or (found > found_by_one / _MIN_GAIN and _fits_much_better(several, one))
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
