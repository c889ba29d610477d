"""From a rigid map to one that follows the depth of the scene, and says where it holds.

Two cameras side by side see near things displaced against far ones. The rigid map fits the surface
that most of the photo shows; what is displaced against it belongs to other surfaces, found as
planes in the optical flow (RANSAC, one after the other) and as connected patches of it. Each cell
of the phone photo is then given to the surface whose displacement fits what the cell itself shows,
and each surface's displacement is smoothed over its own cells alone, so edges between near and far
stay sharp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Cells
from dpedkit.align.detail import SIDE, Grid, View
from dpedkit.align.dominant import dominant_surface
from dpedkit.align.fit import FIELD, RADIAL, Fit
from dpedkit.align.flow import CellFlow, cell_flow
from dpedkit.align.model import choose_model
from dpedkit.align.refine import Level, Refined, observe_level
from dpedkit.align.smoothing import (
    Displacements,
    chi2,
    smooth,
    smooth_at,
    with_model_error,
)
from dpedkit.geometry import PairMap
from dpedkit.surfaces import DOMINANT, NOT_FOUND, NOWHERE, ON_EDGE, Surfaces

Labels = NDArray[np.uint8]  # (R, C)

RIGID, SURFACES = RADIAL, "surfaces"
_PLAIN = 0.97  # share of the detail that one surface puts in place where there is no depth
_MIN_GAIN = 1.02  # detail put in place by several surfaces, as a factor, that makes them worth it
# Flow of one surface: smoothed over this part of the photo's longer side, most changes little.
_ONE_WIDTH, _ONE_ERROR, _ONE_SHARE = 0.036, 0.35, 0.85  # share, px of the working image, share
_MIN_EXPLAINED = 0.3  # share of the detail that several surfaces must put in place
_NO_BETTER, _MUCH_BETTER = 0.9, 0.7  # misfit of several surfaces over that of one
_CAUCHY = 6.0
_STEPS = 2
_MODEL_ERROR, _LOOSE_ERROR = 0.05, 0.15  # px, in fits and in what a cell may miss its surface by
_CLEARLY_ALIKE = 0.4  # NCC
_SURE, _CLEARER = 0.85, 0.1  # shares of the detail in place
_REACH = 2.5  # px: what a block shift can measure
_SETTLED = 0.05  # px
_FITS = 12.0  # chi-square; a cell that misses a surface by more does not show it
_STRANGER = 0.5  # chi-square: the dominant surface is preferred by this much
_PLANES, _PLANE_ERROR = 12, 0.5  # at most; px
_MIN_PLANE, _MIN_PLANE_SHARE = 10, 0.004  # cells
_MIN_NEIGHBOURS = 4  # of a cell and its 8 neighbours; fewer agree with a plane by chance
_MIN_PATCH, _MAX_STEP = 6, 0.75  # cells of a connected patch; px from one to the next
_MIN_CELLS = 4
_MAX_SURFACES = 250  # labels are bytes, and the last two mean something else
_MAX_ERROR = 0.4  # px of the working image: a displacement known no better holds nothing
_NEIGHBOUR = 0.75  # chi-square that a neighbour on the same surface is worth
_EDGE_STEP, _EDGE_PHONE_STEP = 0.75, 1.75  # px of the working image, and of the phone photo
_SIGNIFICANT = 2.0  # standard errors
_ENOUGH = 0.02  # of the weight of a Gaussian window
_MOSTLY = 0.7


@dataclass(frozen=True)
class Followed:
    """A map that follows the scene, and what the cells show under it.

    Attributes
    ----------
    map : PairMap
        With `surfaces` that say where it holds.
    model : str
        "radial" where one rigid surface is all there is, "field" where it bends, "surfaces" where
        there are several.
    fit : Fit
        Of the rigid part.
    grid : Grid
    view : View
    verified : (R, C) bool array
        Textured cells that lie in place.
    error : (R, C) array
        Standard error of the displacement, px of the working image.
    """

    map: PairMap
    model: str
    fit: Fit
    grid: Grid
    view: View
    verified: NDArray[np.bool_]
    error: NDArray[np.float64]

    def __post_init__(self) -> None:
        assert self.map.surfaces is not None

    @property
    def in_place(self) -> float:
        """Share of the textured cells that lie in place."""
        return float(self.verified.sum() / max(1, self.view.textured.sum()))

    def misfit(self) -> float:
        """Mean robust loss of what is left at the cells with detail."""
        information = with_model_error(self.view.information, _LOOSE_ERROR)
        left = chi2(self.view.shift, information)[self.view.textured]
        return float(np.log1p(left / _CAUCHY).mean()) if len(left) else np.inf

    @property
    def surfaces(self) -> Surfaces:
        assert self.map.surfaces is not None
        return self.map.surfaces


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
    one = rigid = _one_surface(level, fit, RIGID, fit.map, cells)
    if not allow_depth:
        return rigid
    if rigid.in_place >= _PLAIN:
        return _bent(pyramid, refined) or rigid
    flow = cell_flow(rigid.grid, fit.map)
    several = _by_flow(rigid.grid, fit, flow)
    if several is None or several.in_place < _SURE or _is_smooth(flow):
        one = _bent(pyramid, refined) or rigid
    if several is None or not _fits_better(several, one):
        several = None
        if one is rigid:
            one = _bent(pyramid, refined) or rigid
    return _in_clear_sight(pyramid, one, several)


def _in_clear_sight(pyramid: list[Level], one: Followed, several: Followed | None) -> Followed:
    """The one or the several surfaces, whichever holds; judged at the next smaller size, too, since
    noise hides detail at the largest size first."""
    found = several or one
    if several is not None and _fits_much_better(several, one):
        return several
    if len(pyramid) > 1 and found.in_place < _SURE:
        clearer = _one_surface(pyramid[-2], one.fit, one.model, one.map)
        if clearer.in_place > found.in_place + _CLEARER:
            return clearer
    return found


def _bent(pyramid: list[Level], refined: Refined) -> Followed | None:
    """The map with a smooth field, where that predicts better; see `model.choose_model`."""
    chosen = choose_model(pyramid, refined)
    if chosen.model == RADIAL:
        return None
    return _one_surface(pyramid[-1], chosen, FIELD, chosen.map)


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


def _one_surface(
    level: Level, fit: Fit, model: str, current: PairMap, cells: Cells | None = None
) -> Followed:
    """Where a map holds, all of it taken for one surface; `cells` if it was observed already."""
    grid = Grid.over(level)
    view = View.of(cells or observe_level(level, current), grid, current)
    labels, nothing = np.full(grid.shape, DOMINANT, np.uint8), np.zeros((*grid.shape, 2))
    return _finished(grid, fit, model, view, labels, nothing, nothing[..., 0])


def _by_flow(grid: Grid, rigid: Fit, flow: CellFlow) -> Followed | None:
    """Surfaces at several depths, as the flow under the rigid map shows them."""
    if not flow.valid.any():
        return None
    fit, flow = dominant_surface(grid, rigid, flow)
    labels, displacement = _first_labels(flow)
    error = np.zeros(grid.shape)
    for _ in range(_STEPS):
        view, filled = _look(grid, fit.map, labels, displacement)
        labels, displacement, error = _assigned(view, labels, filled)
        if not labels.any():
            return None
    view, filled = _look(grid, fit.map, labels, displacement)
    error = np.where(labels > 0, error, np.inf)
    everywhere_labelled, _ = _nearest(labels)
    return _finished(grid, fit, SURFACES, view, everywhere_labelled, filled, error)


def _first_labels(flow: CellFlow) -> tuple[Labels, Displacements]:
    """The dominant surface, planes displaced against it, and connected patches of the rest."""
    labels = np.zeros(flow.valid.shape, np.uint8)
    close = flow.valid & (np.linalg.norm(flow.displacement, axis=2) < _PLANE_ERROR)
    labels[close] = DOMINANT
    left, next_label = flow.valid & ~close, DOMINANT + 1
    for plane in _planes(flow.displacement, left, int(flow.valid.sum())):
        labels[plane] = next_label
        next_label += 1
    left &= labels == 0
    patches, sizes = _connected(flow.displacement, left)
    largest = np.argsort(-sizes, kind="stable")
    largest = largest[sizes[largest] >= _MIN_PATCH][: _MAX_SURFACES - next_label]
    names = np.zeros(len(sizes), np.uint8)
    names[largest] = np.arange(next_label, next_label + len(largest))
    labels = np.where(labels > 0, labels, names[patches])
    return labels, np.where(close[..., None], 0.0, flow.displacement)


def _planes(
    displacement: Displacements, left: NDArray[np.bool_], of: int
) -> Iterator[NDArray[np.bool_]]:
    """Cells of the largest plane among those `left`, then of the next, and so on.

    A plane seen by two cameras is displaced by a homography.
    """
    left = left.copy()
    needed = max(_MIN_PLANE, _MIN_PLANE_SHARE * of)
    rows, columns = left.shape
    y, x = np.mgrid[:rows, :columns] * float(SIDE)
    places = np.stack([x, y], axis=-1)
    for _ in range(_PLANES):
        if left.sum() < needed:
            return
        cv2.setRNGSeed(0)
        _, inlier = cv2.findHomography(
            places[left],
            (places + displacement)[left],
            cv2.USAC_FAST,
            _PLANE_ERROR,
            maxIters=2000,
            confidence=0.999,
        )
        if inlier is None:
            return
        plane = np.zeros(left.shape, bool)
        plane[left] = inlier.ravel() > 0
        around = cv2.boxFilter(
            plane.astype(np.float32), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        plane &= around >= _MIN_NEIGHBOURS
        if plane.sum() < needed:
            return
        yield plane
        left &= ~plane


def _connected(
    displacement: Displacements, member: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Patches of cells whose displacement changes little from one to the next: numbers `(R, C)`,
    0 for none, and sizes."""
    rows, columns = member.shape
    # Cells with the links between them, as a picture whose connected parts OpenCV finds.
    linked = np.zeros((2 * rows - 1, 2 * columns - 1), np.uint8)
    linked[::2, ::2] = member
    for axis, places in ((1, np.s_[::2, 1::2]), (0, np.s_[1::2, ::2])):
        step = np.linalg.norm(np.diff(displacement, axis=axis), axis=2)
        ends = np.swapaxes(member, 0, axis)
        linked[places] = np.swapaxes(ends[1:] & ends[:-1], 0, axis) & (step < _MAX_STEP)
    _, found = cv2.connectedComponents(linked, connectivity=4)
    numbers = found[::2, ::2] * member
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    return numbers, sizes


def _look(
    grid: Grid, rigid: PairMap, labels: Labels, displacement: Displacements
) -> tuple[View, Displacements]:
    """What the cells show under the map with these surfaces, and the displacement of every cell:
    those without a label take the nearest one's."""
    everywhere, _ = _nearest(labels)
    filled = _filled(displacement, labels > 0)
    current = _with_surfaces(grid, rigid, everywhere, filled)
    return View.of(observe_level(grid.level, current), grid, current), filled


def _assigned(
    view: View, labels: Labels, under: Displacements
) -> tuple[Labels, Displacements, NDArray[np.float64]]:
    """Fit each surface to its cells, then give every cell to the surface that it fits best."""
    measured = under + view.shift
    usable = view.detailed & (view.ncc > _CLEARLY_ALIKE)
    usable &= np.linalg.norm(view.shift, axis=2) < _REACH
    tight = with_model_error(view.information, _MODEL_ERROR)
    loose = with_model_error(view.information, _LOOSE_ERROR)
    result, displacement = np.zeros_like(labels), np.zeros_like(under)
    error, best = np.full(labels.shape, np.inf), np.full(labels.shape, _FITS)
    for label in np.unique(labels[labels > 0]):
        member = (labels == label) & usable
        if member.sum() < _MIN_CELLS:
            continue
        found = smooth(measured, tight, member, may_be_none=label == DOMINANT)
        if found.width == 0:  # the rigid map, which holds everywhere
            box = (slice(None), slice(None))
            near, values, errors = np.ones_like(usable), np.zeros_like(under), np.zeros_like(error)
        else:
            box, near, values, errors = found.box, found.near, found.displacement, found.error
        misfit = chi2(measured[box] - values, loose[box]) + _STRANGER * (label != DOMINANT)
        same = (labels[box] == label).astype(np.float64)
        around = cv2.boxFilter(same, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        misfit -= _NEIGHBOUR * (around - same)
        taken = near & usable[box] & (misfit < best[box])
        best[box][taken], result[box][taken] = misfit[taken], label
        displacement[box][taken], error[box][taken] = values[taken], errors[taken]
    counts = np.bincount(result.ravel(), minlength=256)
    result[counts[result] < _MIN_CELLS] = 0
    return result, displacement, error


def _finished(
    grid: Grid,
    fit: Fit,
    model: str,
    view: View,
    labels: Labels,
    displacement: Displacements,
    error: NDArray[np.float64],
) -> Followed:
    """Say where the map holds: where detail lies in place, and where there is none to tell, but
    the nearest detail does."""
    in_place = view.in_place(labels) & (error < _MAX_ERROR)
    verified = in_place & view.textured
    px = grid.level.working_px
    step = max(_EDGE_STEP, _EDGE_PHONE_STEP / px)
    edges = _edges(labels * in_place, displacement, error, step)
    # Where there is no detail to tell, the map is believed if it holds in most of that around.
    missing = view.contradicting(labels) | (view.detailed & (error >= _MAX_ERROR))
    around = _spread((in_place & ~edges).astype(np.float64), in_place | missing)
    holding = in_place | (~missing & (around > _MOSTLY))
    result = np.where(holding, labels, np.where(missing, NOT_FOUND, NOWHERE))
    result[edges] = ON_EDGE
    displacement = _spread(displacement, holding)
    surfaces = Surfaces.of(grid.cell, result.astype(np.uint8), displacement * px)
    pair_map = replace(fit.map, surfaces=surfaces)
    inside = _inside(pair_map, grid)
    surfaces.labels[~inside] = NOT_FOUND
    return Followed(pair_map, model, fit, grid, view, verified & inside, error)


def _edges(
    labels: Labels, displacement: Displacements, error: NDArray[np.float64], step: float
) -> NDArray[np.bool_]:
    """Cells `(R, C)` on edges between near and far: from one with detail to the next or the one
    after, another surface begins that is displaced by more than `step` px against it."""
    rows, columns = labels.shape
    result = np.zeros(labels.shape, bool)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0)):
        left = max(0, -right)
        width = columns - abs(right)
        here = np.s_[: rows - down, left : left + width]
        there = np.s_[down:, left + right : left + right + width]
        apart = np.linalg.norm(displacement[there] - displacement[here], axis=2)
        doubt = _SIGNIFICANT * np.hypot(error[here], error[there])
        apart = apart - doubt > step * max(down, abs(right))
        apart &= (labels[here] != labels[there]) & (labels[here] > 0) & (labels[there] > 0)
        result[here] |= apart
        result[there] |= apart
        if max(down, right) == 2:
            result[down // 2 : down // 2 + rows - down, right // 2 : right // 2 + width] |= apart
    return result


def _spread(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values `(R, C)` or `(R, C, 2)` where they are known, elsewhere a smooth continuation."""
    result, missing, sigma = values.copy(), ~known, 1.0
    weights = known.astype(np.float64)
    weighted = (values.T * weights.T).T
    while missing.any() and known.any() and sigma < 2 * max(known.shape):
        weight, total = (
            cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
            for plane in (weights, weighted)
        )
        reached = missing & (weight > _ENOUGH)
        result[reached] = (total[reached].T / weight[reached]).T
        missing &= ~reached
        sigma *= 2
    return result


def _inside(current: PairMap, grid: Grid) -> NDArray[np.bool_]:
    """Which cells `(R, C)` lie in the DSLR photo."""
    there = current(grid.phone_points(grid.centres))
    inside = (there >= 0) & (there <= np.array(current.dslr_size) - 1)
    return np.asarray(inside.all(axis=1).reshape(grid.shape))


def _with_surfaces(
    grid: Grid, rigid: PairMap, labels: Labels, displacement: Displacements
) -> PairMap:
    """The rigid map with a displacement in px of the working image."""
    px = grid.level.working_px
    return replace(rigid, surfaces=Surfaces.of(grid.cell, labels, displacement * px))


def _nearest(labels: Labels) -> tuple[Labels, NDArray[np.float32]]:
    """For each cell the label of the nearest one that has any, and the distance to it in cells."""
    missing = (labels == 0).astype(np.uint8)
    if missing.all():
        return labels, np.full(labels.shape, np.inf, np.float32)
    distance, source = _sources(missing)
    return labels.ravel()[source], distance


def _filled(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values `(R, C, ...)` where they are known, elsewhere those of the nearest such cell."""
    if known.all() or not known.any():
        return values
    _, source = _sources((~known).astype(np.uint8))
    return values.reshape(-1, *values.shape[2:])[source]


def _sources(missing: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distance to the nearest cell that is not missing, and its index in the flat grid."""
    distance, number = cv2.distanceTransformWithLabels(
        missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index = np.zeros(int(number.max()) + 1, np.int64)
    there = np.flatnonzero(missing.ravel() == 0)
    index[number.ravel()[there]] = there
    return distance, index[number]
