"""Where a map holds, place by place, judged by the cells that have detail.

Detail that lies in place vouches for its cell, and for plain cells that such detail surrounds.
Edges between near and far, and detail not found in the DSLR photo, are marked as such.

Cells of 16 px are large for the outline of a thing in front of others. Along an edge between two
surfaces the DSLR photo is warped as each of them has it; what fits the phone photo better, in cells
a quarter as wide, says which of the two it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Cells
from dpedkit.align.detail import Grid, View, cell_means
from dpedkit.align.fit import Fit
from dpedkit.align.refine import Level, observe_level, warped
from dpedkit.align.smoothing import Displacements, chi2, with_model_error
from dpedkit.geometry import PairMap
from dpedkit.surfaces import DOMINANT, NOT_FOUND, NOWHERE, ON_EDGE, Layer, Surfaces

Labels = NDArray[np.uint8]  # (R, C)

_MODEL_ERROR = 0.15  # px of the working image that a cell may miss its surface by
_CAUCHY = 6.0  # squared residuals of this many variances count in full no more
_MAX_ERROR = 0.4  # px of the working image: a displacement known no better holds nothing
_EDGE_STEP, _EDGE_PHONE_STEP = 0.75, 1.75  # px of the working image, and of the phone photo
_ZONE = 5  # cells: across an edge, where its course is looked for
_SIGNIFICANT = 2.0  # standard errors
_MOSTLY = 0.7  # share of the detail around that must lie in place where there is none to tell
_ENOUGH = 0.02  # of the weight of a Gaussian window
FINER = 4  # cells along each side of a cell of the grid
_AROUND = 3  # cells: the other surface along an edge is looked for as far away
_AREA = 9  # px of the working image: surroundings that say which surface a place shows
_CLEAR = 0.25  # of the misfit of the worse surface, that the better one must be better by
_FITS = 0.5  # of its power, that the misfit of the better one may be: an NCC of 0.5
_LEAST = 0.05  # misfit of the worse surface, in variances of locally normalised photos


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
    contradicted : float
        Share of the textured cells that show something else, or out of place.
    """

    map: PairMap
    model: str
    fit: Fit
    grid: Grid
    view: View
    verified: NDArray[np.bool_]
    error: NDArray[np.float64]
    contradicted: float

    def __post_init__(self) -> None:
        assert self.map.surfaces is not None

    @property
    def in_place(self) -> float:
        """Share of the textured cells that lie in place."""
        return float(self.verified.sum() / max(1, self.view.textured.sum()))

    def misfit(self) -> float:
        """Mean robust loss of what is left at the cells with detail."""
        information = with_model_error(self.view.information, _MODEL_ERROR)
        left = chi2(self.view.shift, information)[self.view.textured]
        return float(np.log1p(left / _CAUCHY).mean()) if len(left) else np.inf

    @property
    def surfaces(self) -> Surfaces:
        assert self.map.surfaces is not None
        return self.map.surfaces


def one_surface(
    level: Level, fit: Fit, model: str, current: PairMap, cells: Cells | None = None
) -> Followed:
    """Where a map holds, all of it taken for one surface; `cells` if it was observed already."""
    grid = Grid.over(level)
    view = View.of(cells or observe_level(level, current), grid, current)
    labels, nothing = np.full(grid.shape, DOMINANT, np.uint8), np.zeros((*grid.shape, 2))
    return finished(grid, fit, model, view, labels, nothing, nothing[..., 0])


def finished(
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
    surfaces = Surfaces.of(grid.cell, result.astype(np.uint8), _spread(displacement, holding) * px)
    inside = _inside(replace(fit.map, surfaces=surfaces), grid)
    surfaces.labels[~inside] = NOT_FOUND
    if edges.any():
        surfaces = _sharpened(grid, fit.map, labels, displacement, edges, step, surfaces.labels)
    pair_map = replace(fit.map, surfaces=surfaces)
    contradicted = float((missing & view.textured).sum() / max(1, view.textured.sum()))
    return Followed(pair_map, model, fit, grid, view, verified & inside, error, contradicted)


def _sharpened(
    grid: Grid,
    rigid: PairMap,
    labels: Labels,
    displacement: Displacements,
    edges: NDArray[np.bool_],
    step: float,
    known: Labels,
) -> Surfaces:
    """What is known of smaller cells, along edges by which surface they show."""
    zone = cv2.dilate(edges.astype(np.uint8), np.ones((_ZONE, _ZONE), np.uint8)).astype(bool)
    found = outlines(grid, rigid, labels, displacement, zone, step)
    holding = (known != NOT_FOUND) & (known != NOWHERE)
    along, result = finer(zone & (holding | edges)), finer(known)
    # Of what one camera alone sees, a cell by itself may fit by chance.
    around = cv2.erode(found.decided.astype(np.uint8), np.ones((3, 3), np.uint8))
    sure = along & (around > 0)
    result[sure] = found.labels[sure]
    result[along & found.on_edge] = ON_EDGE
    return Surfaces(grid.cell / FINER, result, found.layer, found.other, found.shows_other)


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


def with_surfaces(
    grid: Grid, rigid: PairMap, labels: Labels, displacement: Displacements
) -> PairMap:
    """The rigid map with a displacement in px of the working image."""
    px = grid.level.working_px
    return replace(rigid, surfaces=Surfaces.of(grid.cell, labels, displacement * px))


@dataclass(frozen=True)
class Outlines:
    """Cells a quarter as wide as the grid's.

    Attributes
    ----------
    layer, other : Layer
        Of the grid's cells: along edges the one surface and the other, elsewhere the same.
    shows_other : (4R, 4C) bool array
    labels : (4R, 4C) uint8 array
        Of the surface that each shows.
    decided : (4R, 4C) bool array
        Whether the photos tell which it is.
    on_edge : (4R, 4C) bool array
        Whether a neighbour shows the other surface, displaced by more than the step.
    """

    layer: Layer
    other: Layer
    shows_other: NDArray[np.bool_]
    labels: Labels
    decided: NDArray[np.bool_]
    on_edge: NDArray[np.bool_]


def outlines(
    grid: Grid,
    rigid: PairMap,
    labels: Labels,
    displacement: Displacements,
    edges: NDArray[np.bool_],
    step: float,
) -> Outlines:
    """Give the cells along edges to one of the two surfaces that meet there.

    Parameters
    ----------
    rigid : PairMap
    labels : (R, C) uint8 array
        Of surfaces alone, everywhere.
    displacement : (R, C, 2) array
        px of the working image.
    edges : (R, C) bool array
        Cells along edges; all others stay as they are.
    step : float
        px of the working image by which surfaces are displaced against each other at an edge.
    """
    other, there = _other_surface(labels, displacement)
    along = edges & (other > 0)
    first = along & (labels > other)
    one, two = (
        Surfaces.of(
            grid.cell,
            np.where(swapped, other, labels),
            np.where(swapped[..., None], there, displacement) * grid.level.working_px,
        )
        for swapped in (first, along & ~first)
    )
    better, clear = _which_fits(grid, rigid, one, two)
    decided = finer(along) & clear
    fitting = np.where(better, finer(one.labels), finer(two.labels))
    chosen = np.where(decided, fitting, finer(labels))
    apart = np.linalg.norm(one.layer.displacement - two.layer.displacement, axis=2)
    broken = finer(apart > step * grid.level.working_px)
    return Outlines(
        one.layer,
        two.layer,
        chosen != finer(one.labels),
        chosen.astype(np.uint8),
        decided,
        ~_alike(chosen) & broken,
    )


def _other_surface(labels: Labels, displacement: Displacements) -> tuple[Labels, Displacements]:
    """The nearest other surface of each cell, 0 where none is near, and its displacement there."""
    rows, columns = labels.shape
    other, there = np.zeros_like(labels), displacement.copy()
    reach = range(-_AROUND, _AROUND + 1)
    offsets = [(down, right) for down in reach for right in reach if down or right]
    padded = np.pad(labels, _AROUND, constant_values=0)
    moved = np.pad(displacement, [(_AROUND, _AROUND), (_AROUND, _AROUND), (0, 0)])
    for down, right in sorted(offsets, key=lambda offset: np.hypot(*offset)):
        part = np.s_[
            _AROUND + down : _AROUND + down + rows, _AROUND + right : _AROUND + right + columns
        ]
        found = (other == 0) & (padded[part] > 0) & (padded[part] != labels)
        other[found], there[found] = padded[part][found], moved[part][found]
    return other, there


def _which_fits(
    grid: Grid, rigid: PairMap, one_surface: Surfaces, other_surface: Surfaces
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each fine cell fits the first displacement better, and whether that is clear."""
    misfits, powers = [], []
    for surfaces in (one_surface, other_surface):
        there, _ = warped(grid.level, replace(rigid, surfaces=surfaces))
        missed = cv2.blur(cv2.pow(cv2.subtract(grid.level.phone, there), 2), (_AREA, _AREA))
        misfits.append(cell_means(missed, grid.shape, FINER))
        shown = cv2.add(cv2.pow(grid.level.phone, 2), cv2.pow(there, 2))
        powers.append(cell_means(cv2.blur(shown, (_AREA, _AREA)), grid.shape, FINER))
    one, two = misfits
    worse = np.maximum(one, two)
    clear = (np.abs(one - two) > _CLEAR * worse) & (worse > _LEAST)
    fits = np.where(one <= two, one / (powers[0] + 1e-6), two / (powers[1] + 1e-6)) < _FITS
    return one <= two, clear & fits


def _alike(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Cells whose four neighbours show the same surface."""
    padded = np.pad(labels, 1, mode="edge")
    same = np.ones(labels.shape, bool)
    rows, columns = labels.shape
    for down, right in ((0, 1), (1, 0), (1, 2), (2, 1)):
        same &= padded[down : down + rows, right : right + columns] == labels
    return same


def finer(values: NDArray) -> NDArray:
    return values.repeat(FINER, axis=0).repeat(FINER, axis=1)
