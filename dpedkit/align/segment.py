"""Segment a scene with depth into surfaces.

Dense optical flow (DIS; Kroeger et al., ECCV 2016) finds displacements of tens of pixels, which are
beyond the reach of block shifts. It blurs depth discontinuities and is accurate to about a tenth of
a pixel, so it tells which surfaces there are, and the block shifts tell where they lie.

The rigid map is fitted to the dominant surface, the one that covers most of the photo. What is
displaced against it belongs to other surfaces, found as planes in the flow (sequential RANSAC) and
as connected patches of it. Each cell of the phone photo is then assigned to the surface whose
displacement fits the cell's own block shift, and the displacement of each surface is smoothed over
its own cells only, so depth discontinuities stay sharp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.align.detail import SIDE, Grid, View
from dpedkit.align.features import is_plausible
from dpedkit.align.fit import RADIAL, Fit, fit_map
from dpedkit.align.refine import NOISE_FACTOR, blocks_of, bounded, observe_level, warped
from dpedkit.align.smoothing import Displacements, chi2, smooth, with_model_error
from dpedkit.align.validity import FittedMap, Labels, with_surfaces, with_validity
from dpedkit.geometry import PairMap, Points, centre_of
from dpedkit.surfaces import DOMINANT

SURFACES = "surfaces"

# Optical flow of cells
_LEVELS = 40.0  # grey levels per standard deviation of the locally normalised photos
_REDUCED = 4  # how many times smaller the images of the flow are
_AGREEMENT = 1.0  # px per axis: forward-backward error of the flow
_MIN_AGREEING = 0.6  # share of a cell's pixels whose flow is consistent
_MAX_SPREAD = 1.2  # px; a cell with more varied flow lies on a depth discontinuity

# The rigid map of the dominant surface
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

# Segmentation
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


@dataclass(frozen=True)
class CellFlow:
    """Mean flow of each cell.

    Attributes
    ----------
    displacement : (R, C, 2) array
        px of the working image: the warped DSLR photo at `centre + displacement` matches the phone
        photo at `centre`.
    valid : (R, C) bool array
        Where there is texture and the forward and backward flow agree.
    """

    displacement: Displacements
    valid: NDArray[np.bool_]


def cell_flow(grid: Grid, current: PairMap) -> CellFlow:
    """Flow from the phone photo to the DSLR photo warped by `current`."""
    moved, shown = warped(grid.level, current)
    first, second = (_reduced(_as_grey(image)) for image in (grid.level.phone, moved))
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(0)  # the preset's, a quarter of the photo, is the size of these images
    there = search.calc(first, second, None)
    back = search.calc(second, first, None)
    height, width = first.shape
    target = there.copy()
    target[..., 0] += np.arange(width, dtype=np.float32)
    target[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    missing = 255 - _reduced(shown.astype(np.uint8) * 255).astype(np.float32)
    # One remap for both the backward flow and whether the DSLR photo covers the target.
    returned = cv2.remap(
        np.dstack([back, missing]),
        target,
        None,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(1e3, 1e3, 1e3),
    )
    missed = np.abs(there + returned[..., :2]).max(axis=2)
    agreeing = ((missed * _REDUCED < _AGREEMENT) & (returned[..., 2] < 1)).astype(np.float32)
    x, y = there[..., 0] * agreeing, there[..., 1] * agreeing
    planes = np.dstack([agreeing, x, y, x * there[..., 0] + y * there[..., 1]])
    share, mean_x, mean_y, square = np.moveaxis(_cell_means(planes, grid.shape), -1, 0)
    share_there = np.maximum(share, 1e-6)
    mean = np.stack([mean_x, mean_y], axis=-1) * (_REDUCED / share_there[..., None])
    variance = square * (_REDUCED**2 / share_there) - (mean**2).sum(axis=2)
    valid = grid.textured & (share > _MIN_AGREEING) & (variance < _MAX_SPREAD**2)
    return CellFlow(mean, valid)


def _as_grey(normalised: NDArray[np.float32]) -> NDArray[np.uint8]:
    return cv2.convertScaleAbs(cv2.max(normalised + 128 / _LEVELS, 0), alpha=_LEVELS)


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image at a quarter of its size, without up to three rows and columns at the end."""
    height, width = (side // _REDUCED for side in image.shape)
    whole = image[: height * _REDUCED, : width * _REDUCED]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _cell_means(planes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Means `(R, C, P)` of reduced planes `(H, W, P)` over cells."""
    (rows, columns), side = shape, SIDE // _REDUCED
    down, right = rows * side - planes.shape[0], columns * side - planes.shape[1]
    whole = cv2.copyMakeBorder(planes, 0, down, 0, right, cv2.BORDER_REPLICATE)
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float64)


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
