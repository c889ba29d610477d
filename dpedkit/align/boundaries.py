"""Where exactly one surface ends and another begins.

Cells of 16 px are large for the outline of a thing in front of others. Along an edge between two
surfaces the DSLR photo is warped as each of them has it; what fits the phone photo better, in cells
half as wide, says which of the two it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.detail import SIDE, Grid
from dpedkit.align.refine import warped
from dpedkit.align.smoothing import Displacements
from dpedkit.geometry import PairMap
from dpedkit.surfaces import Layer, Surfaces

Labels = NDArray[np.uint8]

FINER = 4  # cells along each side of a cell of the grid
_AROUND = 3  # cells: the other surface along an edge is looked for as far away
_AREA = 9  # px of the working image: surroundings that say which surface a place shows
_CLEAR = 0.25  # of the misfit of the worse surface, that the better one must be better by
_FITS = 0.5  # of its power, that the misfit of the better one may be: an NCC of 0.5
_LEAST = 0.05  # misfit of the worse surface, in variances of locally normalised photos


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
        misfits.append(_means(missed, grid.shape))
        shown = cv2.add(cv2.pow(grid.level.phone, 2), cv2.pow(there, 2))
        powers.append(_means(cv2.blur(shown, (_AREA, _AREA)), grid.shape))
    one, two = misfits
    worse = np.maximum(one, two)
    clear = (np.abs(one - two) > _CLEAR * worse) & (worse > _LEAST)
    fits = np.where(one <= two, one / (powers[0] + 1e-6), two / (powers[1] + 1e-6)) < _FITS
    return one <= two, clear & fits


def _means(plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float64]:
    rows, columns = shape
    down, right = rows * SIDE - plane.shape[0], columns * SIDE - plane.shape[1]
    whole = cv2.copyMakeBorder(plane, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = (columns * FINER, rows * FINER)
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float64)


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
