"""Segment a scene with depth into surfaces.

The optical flow tells which surfaces there are, and the block shifts tell where they lie.

The rigid map is fitted to the dominant surface, the one that covers most of the photo. What is
displaced against it belongs to other surfaces, found as planes in the flow (sequential RANSAC) and
as connected patches of it. Each cell of the phone photo is then assigned to the surface whose
displacement fits the cell's own block shift, and the displacement of each surface is smoothed over
its own cells only, so depth discontinuities stay sharp.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.detail import SIDE, Grid, View
from dpedkit.align.dominant import dominant_surface
from dpedkit.align.fit import Fit
from dpedkit.align.flow import CellFlow
from dpedkit.align.refine import observe_level
from dpedkit.align.smoothing import Displacements, chi2, smooth, with_model_error
from dpedkit.align.validity import FittedMap, Labels, with_surfaces, with_validity
from dpedkit.geometry import PairMap
from dpedkit.surfaces import DOMINANT

SURFACES = "surfaces"

_STEPS = 2  # of assigning cells to surfaces
_MODEL_ERROR, _LOOSE_ERROR = (
    0.05,
    0.15,
)  # px, in the fit of a surface and in the assignment of cells
_ALIKE = 0.4  # minimum NCC of a cell whose shift is used
_REACH = 2.5  # px: largest shift that a block can measure
_FITS = 12.0  # maximum chi-square of a cell on the surface it is assigned to
_SWITCH_COST = 0.5  # chi-square by which the dominant surface is preferred
_NEIGHBOUR_BONUS = 0.75  # chi-square for each neighbour on the same surface
_PLANES, _PLANE_ERROR = 12, 0.5  # maximum number; px
_MIN_PLANE, _MIN_PLANE_SHARE = 10, 0.004  # cells
_MIN_NEIGHBOURS = 4  # inliers among a cell and its 8 neighbours; fewer may be random
_MIN_PATCH, _MAX_STEP = 6, 0.75  # cells of a connected patch; px from one to the next
_MIN_CELLS = 4
_MAX_SURFACES = 250  # labels are bytes, and the last two are reserved


def several_surfaces(grid: Grid, rigid: Fit, flow: CellFlow) -> FittedMap | None:
    """Surfaces at several depths, from the flow under the rigid map; None if there are none."""
    if not flow.valid.any():
        return None
    fit, flow = dominant_surface(grid, rigid, flow)
    labels, displacement = _first_labels(flow)
    error = np.zeros(grid.shape)
    for _ in range(_STEPS):
        view, filled = _observed(grid, fit.map, labels, displacement)
        labels, displacement, error = _assigned(view, labels, filled)
        if not labels.any():
            return None
    view, filled = _observed(grid, fit.map, labels, displacement)
    error = np.where(labels > 0, error, np.inf)
    everywhere_labelled, _ = _nearest(labels)
    return with_validity(grid, fit, SURFACES, view, everywhere_labelled, filled, error)


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

    Two views of a plane are related by a homography.
    """
    left = left.copy()
    needed = max(_MIN_PLANE, _MIN_PLANE_SHARE * of)
    rows, columns = left.shape
    y, x = np.mgrid[:rows, :columns] * float(SIDE)
    places = np.stack([x, y], axis=-1)
    for _ in range(_PLANES):
        if left.sum() < needed:
            return
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
    """Connected components of cells with similar displacement: their numbers `(R, C)`, 0 for none,
    and their sizes."""
    rows, columns = member.shape
    # An image of the cells and the links between them, for OpenCV's connected components.
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


def _observed(
    grid: Grid, rigid: PairMap, labels: Labels, displacement: Displacements
) -> tuple[View, Displacements]:
    """The view of the cells under the map with these surfaces, and the displacement of every cell.
    Cells without a label take that of the nearest one."""
    everywhere, _ = _nearest(labels)
    filled = _filled(displacement, labels > 0)
    current = with_surfaces(grid, rigid, everywhere, filled)
    return View.of(observe_level(grid.level, current), grid, current), filled


def _assigned(
    view: View, labels: Labels, under: Displacements
) -> tuple[Labels, Displacements, NDArray[np.float64]]:
    """Fit each surface to its cells, then assign every cell to the surface that fits it best."""
    measured = under + view.shift
    usable = view.detailed & (view.ncc > _ALIKE)
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
        if found.width == 0:  # the rigid map, which is defined everywhere
            box = (slice(None), slice(None))
            near, values, errors = np.ones_like(usable), np.zeros_like(under), np.zeros_like(error)
        else:
            box, near, values, errors = found.box, found.near, found.displacement, found.error
        misfit = chi2(measured[box] - values, loose[box]) + _SWITCH_COST * (label != DOMINANT)
        same = (labels[box] == label).astype(np.float64)
        around = cv2.boxFilter(same, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        misfit -= _NEIGHBOUR_BONUS * (around - same)
        taken = near & usable[box] & (misfit < best[box])
        best[box][taken], result[box][taken] = misfit[taken], label
        displacement[box][taken], error[box][taken] = values[taken], errors[taken]
    counts = np.bincount(result.ravel(), minlength=256)
    result[counts[result] < _MIN_CELLS] = 0
    return result, displacement, error


def _nearest(labels: Labels) -> tuple[Labels, NDArray[np.float32]]:
    """For each cell, the label of the nearest labelled one and the distance to it in cells."""
    missing = (labels == 0).astype(np.uint8)
    if missing.all():
        return labels, np.full(labels.shape, np.inf, np.float32)
    distance, source = _sources(missing)
    return labels.ravel()[source], distance


def _filled(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values `(R, C, ...)` where known, elsewhere those of the nearest known cell."""
    if known.all() or not known.any():
        return values
    _, source = _sources((~known).astype(np.uint8))
    return values.reshape(-1, *values.shape[2:])[source]


def _sources(missing: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distance to the nearest cell that is not missing, and its flat index."""
    distance, number = cv2.distanceTransformWithLabels(
        missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index = np.zeros(int(number.max()) + 1, np.int64)
    there = np.flatnonzero(missing.ravel() == 0)
    index[number.ravel()[there]] = there
    return distance, index[number]
