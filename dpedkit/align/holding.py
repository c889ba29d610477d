"""Where a map holds, place by place, judged by the cells that have detail.

Detail that lies in place vouches for its cell, and for plain cells that such detail surrounds.
Edges between near and far, and detail not found in the DSLR photo, are marked as such.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Cells
from dpedkit.align.boundaries import FINER, finer, outlines
from dpedkit.align.detail import Grid, View
from dpedkit.align.fit import Fit
from dpedkit.align.refine import Level, observe_level
from dpedkit.align.smoothing import Displacements, chi2, with_model_error
from dpedkit.geometry import PairMap
from dpedkit.surfaces import DOMINANT, NOT_FOUND, NOWHERE, ON_EDGE, Surfaces

Labels = NDArray[np.uint8]  # (R, C)

_MODEL_ERROR = 0.15  # px of the working image that a cell may miss its surface by
_CAUCHY = 6.0  # squared residuals of this many variances count in full no more
_MAX_ERROR = 0.4  # px of the working image: a displacement known no better holds nothing
_EDGE_STEP, _EDGE_PHONE_STEP = 0.75, 1.75  # px of the working image, and of the phone photo
_ZONE = 5  # cells: across an edge, where its course is looked for
_SIGNIFICANT = 2.0  # standard errors
_MOSTLY = 0.7  # share of the detail around that must lie in place where there is none to tell
_ENOUGH = 0.02  # of the weight of a Gaussian window


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
