"""Smooth noisy displacements on a grid of cells by local linear regression.

Each cell's displacement has its own precision in each direction (an edge has none along itself), so
the regression is weighted by 2 x 2 information matrices. The bandwidth is the one that best
predicts each cell from others, leaving out its whole neighbourhood (Fan and Gijbels, *Local
Polynomial Modelling and Its Applications*, 1996, chapters 3 and 4).
"""

from __future__ import annotations

from dataclasses import dataclass

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
_REACH = 2.5  # sigmas; the kernel is cut off there
_SLOPE = 1.5  # prior standard deviation of the slope, px of displacement per cell
_CAUCHY = 3.0  # chi-square per axis at which the weight is halved
_ROBUST_WIDTH, _ROBUST_STEPS = 3.2, 1
_MIN_GAIN = 0.01  # relative gain in prediction below which no displacement is preferred
_MIN_SIGMAS = 3.0  # standard errors by which the mean gain must exceed zero
_TILES = 8  # along the longer side, for that standard error: cells of a tile are correlated
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
    measured, information, member = measured[box], information[box], member[box]
    weighted = information * _robust_weights(measured, information, member)[..., None]
    near, widths = _grown(member), _widths(member)
    width = widths[0]
    if may_be_none or len(widths) > 1:
        width, losses = _best_width(measured, information, weighted, member, widths)
    if may_be_none:
        gain = _loss(measured, information)[member] - losses
        if not (gain.mean() > _MIN_GAIN * losses.mean() and _is_significant(gain, member)):
            nothing = np.zeros(member.shape)
            return Smooth(box, near, np.zeros_like(measured), nothing, 0.0)
    matrix, vector = _normal_equations(measured, weighted, member, width, near)
    error = np.full(member.shape, np.inf)
    error[near] = _standard_error(matrix)
    return Smooth(box, near, _solved(matrix, vector, near), error, width)


def _widths(member: NDArray[np.bool_]) -> list[float]:
    """The widths to choose from; few members do not determine one."""
    # Kernels wider than the surface are equivalent.
    widths = [width for width in _WIDTHS if width < max(member.shape)] or [_WIDTHS[-1]]
    return widths[:1] if member.sum() < _FEW else widths


def _best_width(
    measured: Displacements,
    information: Information,
    weighted: Information,
    member: NDArray[np.bool_],
    widths: list[float],
) -> tuple[float, NDArray[np.float64]]:
    """The width that predicts best, and the loss of each member at that width."""
    result, losses, worse = widths[0], np.full(1, np.inf), 0
    for width in widths:
        found = _regression(measured, weighted, member, width, hole=True)
        loss = _loss(measured - found, information)[member]
        if loss.mean() < losses.mean():
            result, losses, worse = width, loss, 0
        else:
            worse += 1
            if worse == _WORSE:
                break
    return result, losses


def smooth_at(
    measured: Displacements, information: Information, member: NDArray[np.bool_], width: float
) -> Displacements:
    """Displacement `(R, C, 2)` of the members, smoothed with a given width in cells."""
    return _regression(measured, information, member, width)


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
    """Squared Mahalanobis length `(R, C)` of the residuals."""
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


def _robust_weights(
    measured: Displacements, information: Information, member: NDArray[np.bool_]
) -> NDArray[np.float64]:
    weights = np.ones(member.shape)
    for _ in range(_ROBUST_STEPS):
        weighted = information * weights[..., None]
        found = _regression(measured, weighted, member, _ROBUST_WIDTH)
        weights = 1 / (1 + chi2(measured - found, information) / (2 * _CAUCHY))
    return weights


def _loss(residuals: Displacements, information: Information) -> NDArray[np.float64]:
    """Robust loss of each cell: the negative log-likelihood of a Cauchy distribution."""
    return np.log1p(chi2(residuals, information) / (2 * _CAUCHY))


def _is_significant(gain: NDArray[np.float64], member: NDArray[np.bool_]) -> bool:
    """Whether the mean gain is significantly above zero; cells of a tile are correlated."""
    side = max(1, -(-max(member.shape) // _TILES))
    row, column = np.nonzero(member)
    _, place = np.unique((row // side) * member.shape[1] + column // side, return_inverse=True)
    counts = np.bincount(place)
    means = np.bincount(place, gain) / counts
    scatter = np.sqrt(np.average((means - gain.mean()) ** 2, weights=counts) / len(counts))
    return bool(gain.mean() > _MIN_SIGMAS * scatter)


def _regression(
    measured: Displacements,
    information: Information,
    member: NDArray[np.bool_],
    width: float,
    *,
    hole: bool = False,
) -> Displacements:
    """Displacement `(R, C, 2)` of the members; with a `hole`, predicted from others."""
    matrix, vector = _normal_equations(measured, information, member, width, member, hole=hole)
    return _solved(matrix, vector, member)


def _normal_equations(
    measured: Displacements,
    information: Information,
    member: NDArray[np.bool_],
    width: float,
    where: NDArray[np.bool_],
    *,
    hole: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix `(N, 6, 6)` and right-hand side `(N, 6)` of the plane at each of the cells `where`.

    The plane at a cell is fitted to the members around it; with a `hole`, the nearest 3 x 3 cells
    are left out. Its parameters are the height and the slopes along x and y, each for both
    directions of the displacement. The equations are sums over neighbours, that is, convolutions.
    """
    reach = max(2, int(np.ceil(_REACH * width)))
    offset = np.arange(-reach, reach + 1.0)
    kernel = np.exp(-(offset**2) / (2 * width**2))
    powers = [kernel * offset**power for power in range(3)]
    centre = slice(reach - 1, reach + 2)

    def summed(planes: NDArray[np.float64], x: int, y: int) -> NDArray[np.float64]:
        result = _convolved(planes, powers[x], powers[y])
        if hole:
            result -= _convolved(planes, powers[x][centre].copy(), powers[y][centre].copy())
        return result[where]

    known = information * member[..., None]
    (a, b, c), (x, y) = np.moveaxis(known, -1, 0), np.moveaxis(measured, -1, 0)
    pull = np.stack([a * x + b * y, b * x + c * y], axis=-1)
    both = np.concatenate([known, pull], axis=-1)  # faster to convolve together
    terms = ((0, 0), (1, 0), (0, 1))
    sums = {order: summed(both, *order) for order in terms}
    sums |= {order: summed(known, *order) for order in ((2, 0), (1, 1), (0, 2))}
    count = len(sums[0, 0])
    matrix, vector = np.zeros((count, 6, 6)), np.zeros((count, 6))
    for i, (ix, iy) in enumerate(terms):
        vector[:, 2 * i : 2 * i + 2] = sums[ix, iy][:, 3:]
        for j, (jx, jy) in enumerate(terms):
            moment = sums[ix + jx, iy + jy]
            block = matrix[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            block[:, 0, 0], block[:, 1, 1] = moment[:, 0], moment[:, 2]
            block[:, 0, 1] = block[:, 1, 0] = moment[:, 1]
    matrix += np.diag([1e-6] * 2 + [_SLOPE**-2.0] * 4)
    return matrix, vector


def _solved(
    matrix: NDArray[np.float64], vector: NDArray[np.float64], where: NDArray[np.bool_]
) -> Displacements:
    """The heights `(R, C, 2)` of the planes at the cells `where`, elsewhere 0."""
    displacement = np.zeros((*where.shape, 2))
    displacement[where] = np.linalg.solve(matrix, vector[..., None])[:, :2, 0]
    return displacement


def _standard_error(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error `(N,)` of the heights in the least certain direction."""
    covariance = np.linalg.inv(matrix)[:, :2, :2]
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    return np.asarray(np.sqrt((a + c) / 2 + np.sqrt(((a - c) / 2) ** 2 + b * b)))


def _convolved(
    planes: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlation of `(R, C, P)` planes with a separable kernel, zero-padded."""
    result = cv2.sepFilter2D(planes, cv2.CV_64F, x, y, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(result)
