"""Smooth noisy displacements on a grid of cells by local linear regression.

Each cell's displacement has its own precision in each direction (an edge has none along itself), so
the regression is weighted by 2 x 2 information matrices. The bandwidth is the one that best
predicts each cell from others, leaving out its whole neighbourhood (Fan and Gijbels, *Local
Polynomial Modelling and Its Applications*, 1996, chapters 3 and 4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

Displacements = NDArray[np.float64]  # (R, C, 2) in px of the working image
Information = NDArray[np.float64]  # (R, C, 3): xx, xy, yy of inverse covariances, px^-2

_WIDTHS = (
    12.0,
    6.0,
    3.2,
    1.8,
    1.0,
)  # bandwidths: Gaussian sigma in cells, tried from the widest on
_WORSE = 2  # stop after this many narrower widths in a row that predict worse than the best one
_FEW = 30  # cells; fewer do not determine a width
_SAMPLE = 500  # cells, enough to choose a width by
_REACH = 2.5  # sigmas; the kernel is cut off there
_SLOPE = 1.5  # prior standard deviation of the slope, px of displacement per cell
_CAUCHY = 3.0  # chi-square per axis at which the weight is halved
_ROBUST_WIDTH, _ROBUST_STEPS = 3.2, 1
_MIN_GAIN = 0.01  # relative gain in prediction below which no displacement is preferred
_MIN_SIGMAS = 3.0  # standard errors by which the mean gain must exceed zero
_TILES = 8  # along the longer side, for that standard error: cells of a tile are correlated
_ORDERS = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2))  # powers of the offset along x and y
# Where the equations find their terms among the sums.
_TERMS = ((0, 0), (1, 0), (0, 1))
_MATRIX = [
    5 * _ORDERS.index((ix + jx, iy + jy)) + direction + other
    for ix, iy in _TERMS
    for direction in (0, 1)
    for jx, jy in _TERMS
    for other in (0, 1)
]
_VECTOR = [5 * _ORDERS.index(term) + direction for term in _TERMS for direction in (3, 4)]
_SPARSE = 2  # weights per term of the convolution up to which summing over members is faster
GROWTH = 3  # cells; how far a surface is extrapolated beyond its own cells


@dataclass(frozen=True)
class Smooth:
    """A smooth displacement in and around the cells it was fitted to.

    Attributes
    ----------
    box : tuple of slice
        The part of the grid that the arrays cover, H x W cells.
    near : (H, W) bool array
        Where it is defined: within three cells of those it was fitted to.
    displacement : (H, W, 2) array
        px of the working image.
    error : (H, W) array
        Standard error in the least certain direction, px of the working image.
    width : float
        Bandwidth in cells; 0 if zero displacement is preferred.
    """

    box: tuple[slice, slice]
    near: NDArray[np.bool_]
    displacement: Displacements
    error: NDArray[np.float64]
    width: float


def smooth(
    measured: Displacements,
    information: Information,
    member: NDArray[np.bool_],
    may_be_none: bool,
) -> Smooth:
    """Fit the displacement of one surface.

    Parameters
    ----------
    measured : (R, C, 2) array
    information : (R, C, 3) array
    member : (R, C) bool array
        The cells to fit to, at least one.
    may_be_none : bool
        Whether zero displacement is preferred unless a fitted one predicts clearly better.
    """
    box = _around(member)
    member = member[box]
    cells = _Members.of(measured[box], information[box], member)
    near, widths = _grown(member), _widths(member)
    weighted = _robustly_weighted(cells)
    width = widths[0]
    if may_be_none or len(widths) > 1:
        sample = slice(None, None, max(1, len(cells) // _SAMPLE))
        width, losses = _best_width(cells, weighted, widths, sample)
    if may_be_none:
        gain = _loss(cells.measured, cells.information)[sample] - losses
        if not (gain.mean() > _MIN_GAIN * losses.mean() and _is_significant(gain, cells, sample)):
            nothing = np.zeros(member.shape)
            return Smooth(box, near, np.zeros((*member.shape, 2)), nothing, 0.0)
    matrix, vector = _normal_equations(weighted, width, *np.nonzero(near))
    wanted = np.empty((len(vector), 6, 3))
    wanted[..., :2], wanted[..., 2] = np.eye(6)[:, :2], vector  # for the covariance and the heights
    found = np.asarray(np.linalg.solve(matrix, wanted)[:, :2], np.float64)
    displacement, error = np.zeros((*member.shape, 2)), np.full(member.shape, np.inf)
    displacement[near], error[near] = found[..., 2], _largest_error(found[..., :2])
    return Smooth(box, near, displacement, error, width)


@dataclass(frozen=True)
class _Members:
    """The N cells that a surface is fitted to. Most cells of its box may belong to others.

    Attributes
    ----------
    row, column : (N,) array
    measured : (N, 2) array
    information : (N, 3) array
    shape : tuple of int
        Rows and columns of the box.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    measured: NDArray[np.float64]
    information: NDArray[np.float64]
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls, measured: Displacements, information: Information, member: NDArray[np.bool_]
    ) -> Self:
        row, column = np.nonzero(member)
        return cls(row, column, measured[member], information[member], member.shape)

    def __len__(self) -> int:
        return len(self.row)


def _widths(member: NDArray[np.bool_]) -> list[float]:
    """The widths to choose from; few members do not determine one."""
    # Kernels wider than the surface are equivalent.
    widths = [width for width in _WIDTHS if width < max(member.shape)] or [_WIDTHS[-1]]
    return widths[:1] if member.sum() < _FEW else widths


def _best_width(
    cells: _Members, weighted: _Members, widths: list[float], sample: slice
) -> tuple[float, NDArray[np.float64]]:
    """The width that predicts a sample of the members best, and their losses at that width."""
    measured, information = cells.measured[sample], cells.information[sample]
    places = cells.row[sample], cells.column[sample]
    result, losses, worse = widths[0], np.full(1, np.inf), 0
    for width in widths:
        found = _heights(*_normal_equations(weighted, width, *places, hole=True))
        loss = _loss(measured - found, information)
        if loss.mean() < losses.mean():
            result, losses, worse = width, loss, 0
        else:
            worse += 1
            if worse == _WORSE:
                break
    return result, losses


def smooth_at(
    measured: Displacements, information: Information, member: NDArray[np.bool_], width: float
) -> NDArray[np.float64]:
    """Displacement `(N, 2)` of the members, smoothed with a given width in cells."""
    cells = _Members.of(measured, information, member)
    return _heights(*_normal_equations(cells, width, cells.row, cells.column))


def with_model_error(information: Information, error: float) -> Information:
    """Information `(R, C, 3)` after adding an independent error of `error` px to each axis."""
    a, b, c = np.moveaxis(information, -1, 0)
    floor = 1e-3 * (a + c) + 1e-9  # keeps an edge's information along itself from being zero
    a, c = a + floor, c + floor
    determinant = a * c - b * b
    xx, xy, yy = c / determinant + error**2, -b / determinant, a / determinant + error**2
    determinant = xx * yy - xy * xy
    return np.stack([yy / determinant, -xy / determinant, xx / determinant], axis=-1)


def chi2(residuals: Displacements, information: Information) -> NDArray[np.float64]:
    """Squared Mahalanobis length `(...)` of the residuals `(..., 2)`."""
    x, y = residuals[..., 0], residuals[..., 1]
    a, b, c = np.moveaxis(information, -1, 0)
    return np.asarray(a * x * x + 2 * b * x * y + c * y * y)


def _around(member: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Bounding box of the members, extended by `GROWTH` cells."""
    slices = []
    for axis in (1, 0):
        inside = np.flatnonzero(member.any(axis=axis))
        low = max(0, int(inside[0]) - GROWTH)
        slices.append(slice(low, min(member.shape[1 - axis], int(inside[-1]) + GROWTH + 1)))
    return slices[0], slices[1]


def _grown(member: NDArray[np.bool_]) -> NDArray[np.bool_]:
    kernel = np.ones((2 * GROWTH + 1,) * 2, np.uint8)
    return cv2.dilate(member.astype(np.uint8), kernel).astype(bool)


def _robustly_weighted(cells: _Members) -> _Members:
    """The members with less information where they contradict the others."""
    weighted = cells
    for _ in range(_ROBUST_STEPS):
        found = _heights(*_normal_equations(weighted, _ROBUST_WIDTH, cells.row, cells.column))
        weights = 1 / (1 + chi2(cells.measured - found, cells.information) / (2 * _CAUCHY))
        weighted = replace(cells, information=cells.information * weights[:, None])
    return weighted


def _loss(residuals: Displacements, information: Information) -> NDArray[np.float64]:
    """Robust loss `(...)` of residuals `(..., 2)`: the negative log-likelihood of a Cauchy
    distribution."""
    return np.log1p(chi2(residuals, information) / (2 * _CAUCHY))


def _is_significant(gain: NDArray[np.float64], cells: _Members, sample: slice) -> bool:
    """Whether the mean gain of a sample is significantly above zero; cells of a tile are
    correlated."""
    side = max(1, -(-max(cells.shape) // _TILES))
    tile = (cells.row[sample] // side) * cells.shape[1] + cells.column[sample] // side
    _, place = np.unique(tile, return_inverse=True)
    counts = np.bincount(place)
    means = np.bincount(place, gain) / counts
    scatter = np.sqrt(np.average((means - gain.mean()) ** 2, weights=counts) / len(counts))
    return bool(gain.mean() > _MIN_SIGMAS * scatter)


def _normal_equations(
    cells: _Members,
    width: float,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    *,
    hole: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix `(E, 6, 6)` and right-hand side `(E, 6)` of the plane at each of E cells.

    The plane at a cell is fitted to the members around it; with a `hole`, those among the nearest
    3 x 3 cells are left out. Its parameters are the height and the slopes along x and y, each for
    both directions of the displacement.
    """
    (a, b, c), (x, y) = cells.information.T, cells.measured.T
    values = np.stack([a, b, c, a * x + b * y, b * x + c * y], axis=1)
    reach = max(2, int(np.ceil(_REACH * width)))
    offset = np.arange(-reach, reach + 1.0)
    kernel = np.exp(-(offset**2) / (2 * width**2))
    box = cells.shape[0] * cells.shape[1]
    is_sparse = len(row) * len(cells) < _SPARSE * box * len(kernel)
    summed = _sums_over_members if is_sparse else _sums_over_box
    moments = summed(cells, values, kernel, row, column, hole)
    matrix = moments[:, _MATRIX].reshape(-1, 6, 6)
    matrix += np.diag([1e-6] * 2 + [_SLOPE**-2.0] * 4)
    return matrix, moments[:, _VECTOR]


def _sums_over_members(
    cells: _Members,
    values: NDArray[np.float64],
    kernel: NDArray[np.float64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    hole: bool,
) -> NDArray[np.float64]:
    """Weighted sums `(E, 30)` of the five values `(N, 5)` of the members around each of E cells,
    times each of the powers `_ORDERS` of their offset, member by member."""
    reach = len(kernel) // 2
    weight = np.zeros(max(reach, *cells.shape) + 1)
    weight[: reach + 1] = kernel[reach:]
    place = np.arange(max(cells.shape))
    between = weight[np.abs(place[:, None] - place)]
    # Taking columns, then rows, is several times faster than indexing with both.
    weights = between.take(cells.column, axis=1).take(column, axis=0)
    weights *= between.take(cells.row, axis=1).take(row, axis=0)
    if hole:
        number = np.full((cells.shape[0] + 2, cells.shape[1] + 2), -1)
        number[cells.row + 1, cells.column + 1] = np.arange(len(cells))
        down, right = np.indices((3, 3)).reshape(2, 9)
        near = number[row[:, None] + down, column[:, None] + right]
        which, _ = np.nonzero(near >= 0)
        weights[which, near[near >= 0]] = 0
    # Sums of powers of the place, then of the offset.
    x, y = (place.astype(np.float64)[:, None] for place in (cells.column, cells.row))
    powers = np.stack([x**i * y**j * values for i, j in _ORDERS], axis=1).reshape(len(cells), -1)
    one, by_x, by_xx, by_y, by_xy, by_yy = (weights @ powers).reshape(-1, 6, 5).swapaxes(0, 1)
    x, y = (place.astype(np.float64)[:, None] for place in (column, row))
    sums = (
        one,
        by_x - x * one,
        by_xx - x * (2 * by_x - x * one),
        by_y - y * one,
        by_xy - x * by_y - y * (by_x - x * one),
        by_yy - y * (2 * by_y - y * one),
    )
    return np.concatenate(sums, axis=1)


def _sums_over_box(
    cells: _Members,
    values: NDArray[np.float64],
    kernel: NDArray[np.float64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    hole: bool,
) -> NDArray[np.float64]:
    """The same as `_sums_over_members` by convolution, which is faster if most cells of the box are
    members."""
    reach = len(kernel) // 2
    offset = np.arange(-reach, reach + 1.0)
    kernels = [kernel * offset**power for power in range(3)]
    centre = slice(reach - 1, reach + 2)
    planes = np.zeros((*cells.shape, 5))
    planes[cells.row, cells.column] = values
    information = np.ascontiguousarray(planes[..., :3])
    result = np.zeros((len(row), len(_ORDERS), 5))
    for number, (i, j) in enumerate(_ORDERS):
        # No equation has the measured displacement times two offsets.
        some = planes if i + j < 2 else information
        sums = _convolved(some, kernels[i], kernels[j])
        if hole:
            sums -= _convolved(some, kernels[i][centre].copy(), kernels[j][centre].copy())
        result[:, number, : some.shape[2]] = sums[row, column]
    return result.reshape(len(row), -1)


def _heights(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The heights `(E, 2)` of the planes."""
    return np.asarray(np.linalg.solve(matrix, vector[..., None])[:, :2, 0])


def _largest_error(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error `(E,)` of the heights in the least certain direction."""
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    return np.asarray(np.sqrt((a + c) / 2 + np.sqrt(((a - c) / 2) ** 2 + b * b)))


def _convolved(
    planes: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlation of `(R, C, P)` planes with a separable kernel, zero-padded."""
    result = cv2.sepFilter2D(planes, cv2.CV_64F, x, y, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(result)
