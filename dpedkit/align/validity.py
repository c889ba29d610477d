"""Determine where a map holds, cell by cell.

The map holds in cells whose detail is in place, and in cells without detail that are surrounded by
such cells. Depth discontinuities, and detail that is not found in the DSLR photo, are marked.

Cells of 16 px are too coarse for the outline of a foreground object. Along a discontinuity the DSLR
photo is warped by the displacement of either surface, and finer cells, a quarter as wide, are
assigned to the one that matches the phone photo better.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Cells
from dpedkit.align.detail import SIDE, Grid, View, cell_means
from dpedkit.align.fit import Fit
from dpedkit.align.refine import Level, observe_level, warped_rows
from dpedkit.align.smoothing import Displacements, chi2, with_model_error
from dpedkit.geometry import PairMap
from dpedkit.surfaces import DOMINANT, NOT_FOUND, NOWHERE, ON_EDGE, Layer, Surfaces

Labels = NDArray[np.uint8]  # (R, C)

_MODEL_ERROR = 0.15  # px of the working image: model error of a surface
_CAUCHY = 6.0  # chi-square from which on the loss flattens
_MAX_ERROR = 0.4  # px of the working image: standard error above which a map does not hold
_EDGE_STEP, _EDGE_PHONE_STEP = 0.75, 1.75  # px of the working image, and of the phone photo
_ZONE = 5  # cells: width of the zone along an edge that is refined
_SIGNIFICANT = 2.0  # standard errors
_MIN_AROUND = 0.7  # share of the surrounding detail that must be in place for a cell without detail
_ENOUGH = 0.02  # minimum weight within a Gaussian window
FINER = 4  # fine cells along each side of a cell of the grid
_AROUND = 3  # cells: search radius for the other surface along an edge
_STRIP = 4  # rows of cells that are compared at a time
# Weights of a fine cell and its neighbours, over which the two surfaces are compared: a window of
# about 9 px of the working image.
_AREA = np.array([0.2, 0.6, 0.2])
_CLEAR = 0.25  # relative difference of the misfits that makes the decision clear
_FITS = 0.5  # maximum misfit of the better surface relative to the power: an NCC of 0.5
_LEAST = 0.05  # minimum misfit of the worse surface, in variances of the normalised photos


@dataclass(frozen=True)
class FittedMap:
    """A fitted map with its validity, and the evidence of the cells under it.

    Attributes
    ----------
    map : PairMap
        Its `surfaces` tell where it holds.
    model : str
        "radial" for one rigid surface, "field" for a smooth one, "surfaces" for several.
    fit : Fit
        Of the map without surfaces.
    grid : Grid
    view : View
    verified : (R, C) bool array
        Textured cells that are in place.
    error : (R, C) array
        Standard error of the displacement, px of the working image.
    contradicted : float
        Share of the textured cells that do not match, or are out of place.
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
        """Share of the textured cells that are in place."""
        return float(self.verified.sum() / max(1, self.view.textured.sum()))

    def misfit(self, cells: NDArray[np.bool_] | None = None) -> float:
        """Mean robust loss of the residual shifts of some cells, by default the textured ones."""
        information = with_model_error(self.view.information, _MODEL_ERROR)
        left = chi2(self.view.shift, information)[self.view.textured if cells is None else cells]
        return float(np.log1p(left / _CAUCHY).mean()) if len(left) else np.inf

    @property
    def surfaces(self) -> Surfaces:
        assert self.map.surfaces is not None
        return self.map.surfaces


def one_surface(
    level: Level, fit: Fit, model: str, current: PairMap, cells: Cells | None = None
) -> FittedMap:
    """Validity of a map with one surface; `cells` if it has been observed already."""
    grid = Grid.over(level)
    view = View.of(cells or observe_level(level, current), grid, current)
    labels, nothing = np.full(grid.shape, DOMINANT, np.uint8), np.zeros((*grid.shape, 2))
    return with_validity(grid, fit, model, view, labels, nothing, nothing[..., 0])


def with_validity(
    grid: Grid,
    fit: Fit,
    model: str,
    view: View,
    labels: Labels,
    displacement: Displacements,
    error: NDArray[np.float64],
) -> FittedMap:
    """Add the validity to a map: it holds where detail is in place, and where there is no detail
    but most of that around is in place."""
    in_place = view.in_place(labels) & (error < _MAX_ERROR)
    verified = in_place & view.textured
    px = grid.level.working_px
    step = max(_EDGE_STEP, _EDGE_PHONE_STEP / px)
    edges = _edges(labels * in_place, displacement, error, step)
    # Without detail, a cell takes the verdict of most of the detail around it.
    missing = view.contradicting(labels) | (view.detailed & (error >= _MAX_ERROR))
    around = _spread((in_place & ~edges).astype(np.float64), in_place | missing)
    holding = in_place | (~missing & (around > _MIN_AROUND))
    result = np.where(holding, labels, np.where(missing, NOT_FOUND, NOWHERE))
    result[edges] = ON_EDGE
    surfaces = Surfaces.of(grid.cell, result.astype(np.uint8), _spread(displacement, holding) * px)
    inside = _inside(replace(fit.map, surfaces=surfaces), grid)
    surfaces.labels[~inside] = NOT_FOUND
    if edges.any():
        surfaces = _sharpened(grid, fit.map, labels, displacement, edges, step, surfaces.labels)
    pair_map = replace(fit.map, surfaces=surfaces)
    contradicted = float((missing & view.textured).sum() / max(1, view.textured.sum()))
    return FittedMap(pair_map, model, fit, grid, view, verified & inside, error, contradicted)


def _sharpened(
    grid: Grid,
    rigid: PairMap,
    labels: Labels,
    displacement: Displacements,
    edges: NDArray[np.bool_],
    step: float,
    known: Labels,
) -> Surfaces:
    """Validity in fine cells, which along edges are assigned to one of the two surfaces."""
    zone = cv2.dilate(edges.astype(np.uint8), np.ones((_ZONE, _ZONE), np.uint8)).astype(bool)
    found = outlines(grid, rigid, labels, displacement, zone, step)
    holding = (known != NOT_FOUND) & (known != NOWHERE)
    along, result = finer(zone & (holding | edges)), finer(known)
    # In areas that only one camera sees, single cells may match by chance.
    around = cv2.erode(found.decided.astype(np.uint8), np.ones((3, 3), np.uint8))
    sure = along & (around > 0)
    result[sure] = found.labels[sure]
    result[along & found.on_edge] = ON_EDGE
    return Surfaces(grid.cell / FINER, result, found.layer, found.other, found.shows_other)


def _edges(
    labels: Labels, displacement: Displacements, error: NDArray[np.float64], step: float
) -> NDArray[np.bool_]:
    """Cells `(R, C)` on depth discontinuities: between a cell with detail and the next or the one
    after, the surface changes and the displacement jumps by more than `step` px per cell."""
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
    """Values `(R, C)` or `(R, C, 2)` where known, elsewhere a smooth extrapolation."""
    result, missing, sigma = values.copy(), ~known, 1.0
    weights = known.astype(np.float64)
    weighted = (values.T * weights.T).T
    # Zeros extrapolate to zeros.
    while missing.any() and weighted.any() and sigma < 2 * max(known.shape):
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
    """Which cells `(R, C)` are inside the DSLR photo."""
    there = current(grid.phone_points(grid.centres))
    inside = (there >= 0) & (there <= np.array(current.dslr_size) - 1)
    return np.asarray(inside.all(axis=1).reshape(grid.shape))


def with_surfaces(
    grid: Grid, rigid: PairMap, labels: Labels, displacement: Displacements
) -> PairMap:
    """The rigid map with surfaces, whose displacement is in px of the working image."""
    px = grid.level.working_px
    return replace(rigid, surfaces=Surfaces.of(grid.cell, labels, displacement * px))


@dataclass(frozen=True)
class Outlines:
    """Fine cells, a quarter as wide as those of the grid.

    Attributes
    ----------
    layer, other : Layer
        On the cells of the grid: along edges one surface and the other, elsewhere the same.
    shows_other : (4R, 4C) bool array
    labels : (4R, 4C) uint8 array
        Surface of each fine cell.
    decided : (4R, 4C) bool array
        Whether the photos clearly favour that surface.
    on_edge : (4R, 4C) bool array
        Whether a neighbour is on the other surface, displaced by more than the step.
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
    """Assign fine cells along edges to one of the two surfaces that meet there.

    Parameters
    ----------
    rigid : PairMap
    labels : (R, C) uint8 array
        Surface of every cell, without reserved labels.
    displacement : (R, C, 2) array
        px of the working image.
    edges : (R, C) bool array
        Cells along edges; all others keep their label.
    step : float
        Minimum jump of the displacement at an edge, px of the working image.
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
    better, clear = _which_fits(grid, rigid, one, two, along)
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
    """The nearest other surface of each cell, 0 if none is near, and its displacement."""
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
    grid: Grid,
    rigid: PairMap,
    one_surface: Surfaces,
    other_surface: Surfaces,
    where: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each fine cell in the cells `where` fits the first surface better, and whether that
    is clear."""
    phone, (rows, columns) = grid.level.phone, grid.shape
    means = np.zeros((2, 2, rows * FINER, columns * FINER), np.float32)
    sources = [
        warped_rows(grid.level, replace(rigid, surfaces=surfaces))
        for surfaces in (one_surface, other_surface)
    ]
    for first in range(0, rows, _STRIP):
        last = min(first + _STRIP, rows)
        if not where[max(0, first - 1) : last + 1].any():
            continue
        top, bottom = first * SIDE, min(last * SIDE, len(phone))
        here = phone[top:bottom]
        squared, fine = cv2.multiply(here, here), np.s_[first * FINER : last * FINER]
        for result, source in zip(means, sources, strict=True):
            there = source(top, bottom)
            missed = cv2.subtract(here, there)
            for plane, image in zip(
                result,
                (cv2.multiply(missed, missed), cv2.add(squared, cv2.multiply(there, there))),
                strict=True,
            ):
                plane[fine] = cell_means(image, (last - first, columns), FINER)
    misfits, powers = (
        [cv2.sepFilter2D(plane, -1, _AREA, _AREA) for plane in planes]
        for planes in means.swapaxes(0, 1)
    )
    one, two = misfits
    worse = np.maximum(one, two)
    clear = (np.abs(one - two) > _CLEAR * worse) & (worse > _LEAST)
    fits = np.where(one <= two, one / (powers[0] + 1e-6), two / (powers[1] + 1e-6)) < _FITS
    return one <= two, clear & fits


def _alike(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Cells whose four neighbours are on the same surface."""
    padded = np.pad(labels, 1, mode="edge")
    same = np.ones(labels.shape, bool)
    rows, columns = labels.shape
    for down, right in ((0, 1), (1, 0), (1, 2), (2, 1)):
        same &= padded[down : down + rows, right : right + columns] == labels
    return same


def finer(values: NDArray) -> NDArray:
    """Cells `(R, C)` repeated as fine cells `(4R, 4C)`."""
    return values.repeat(FINER, axis=0).repeat(FINER, axis=1)
