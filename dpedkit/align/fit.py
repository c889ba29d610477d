"""Robust fits of the pair's map to measured block shifts: homography, lens distortion, field.

All three are fitted together by weighted least squares in phone pixels, as an increment to the
current map; the coefficients of lens distortion and field are held near zero by a prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.geometry import PairMap, centre_of, half_diagonal, spline_basis

HOMOGRAPHY, RADIAL, FIELD = "homography", "radial", "field"

# Prior standard deviation of k1, k2, k3: phone photos come undistorted to within a few percent,
# and each further term of a lens model is about a tenth of the one before.
_RADIAL_SIGMA = np.array([0.03, 0.01, 0.003])
_H, _K = 8, 3  # parameters of the homography and of the lens distortion
_MEDIAN_CHI2 = 1.386  # of two degrees of freedom
_ROBUST_STEPS = 6
_CAUCHY = 3.0  # squared residuals of this many variances get half the weight
_FIELD_SPACING = 10  # control points along the longer side of the phone photo
_FOLDS = 4
_TILES = 8  # along the longer side: a fold holds out whole tiles, never single blocks


@dataclass(frozen=True)
class Fit:
    """A fitted map and how well it fits.

    Attributes
    ----------
    map : PairMap
    weights : (N,) array
        Robust weight of each block, 1 for one that fits.
    misfit : float
        Standard deviation, in phone px, of what the model cannot follow and noise cannot explain.
    """

    map: PairMap
    weights: NDArray[np.float64]
    misfit: float


def fit_map(
    current: PairMap, blocks: Blocks, noise_factor: float, model: str, bend: float = 0.0
) -> Fit:
    """Fit the map to the shifts that blocks show under the current map.

    Parameters
    ----------
    blocks : Blocks
        In px of the full-size phone photo.
    noise_factor : float
        How many times the variance of a shift is larger than for independent pixel noise.
    model : str
        "homography", "radial" or "field", each with what the ones before it have.
    bend : float
        How far a control point of the field is expected to lie from the line through its
        neighbours, in phone px; unused for the other models.
    """
    problem = Problem(current, blocks, noise_factor, model)
    solution, weights, misfit = problem.solve_robustly(problem.prior(bend))
    return Fit(problem.updated(solution), weights, misfit)


class Problem:
    """The normal equations of one fit; rows are blocks, columns the parameters of the model."""

    def __init__(self, current: PairMap, blocks: Blocks, noise_factor: float, model: str) -> None:
        self.current, self.blocks, self.model = current, blocks, model
        self.jacobian = _jacobian(current, blocks.points, model)  # (N, 2, P)
        self.covariance = noise_factor * _inverse_2x2(_with_floor(blocks.information))
        self.parameters = _parameters(current, model)

    def solve_robustly(
        self, prior: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Iteratively reweighted least squares: parameter increment, block weights, misfit."""
        weights, misfit = np.ones(len(self.blocks)), 0.0
        solution = np.zeros(self.jacobian.shape[2])
        for _ in range(_ROBUST_STEPS):
            information = self.information(misfit)
            solution = self.solve(weights, information, prior)
            misfit = self.misfit(solution)
            weights = self.weights(solution, self.information(misfit))
        return solution, weights, misfit

    def information(self, misfit: float) -> NDArray[np.float64]:
        """(N, 2, 2) inverse covariance of the shifts, with a model error of `misfit` px."""
        return _inverse_2x2(self.covariance + misfit**2 * np.eye(2))

    def solve(
        self,
        weights: NDArray[np.float64],
        information: NDArray[np.float64],
        prior: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The parameter increment for given weights."""
        matrix, vector = self.normal_equations(weights, information)
        return np.linalg.solve(matrix + prior, vector - prior @ self.parameters)

    def normal_equations(
        self, weights: NDArray[np.float64], information: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix `(P, P)` and right-hand side `(P,)` without the prior."""
        weighted = weights[:, None, None] * (information @ self.jacobian)
        flat = self.jacobian.reshape(-1, self.jacobian.shape[2])
        flat_weighted = weighted.reshape(flat.shape)
        return flat.T @ flat_weighted, flat_weighted.T @ self.blocks.shift.ravel()

    def residuals(self, solution: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) shifts that remain after the increment, in px."""
        return self.blocks.shift - self.jacobian @ solution

    def weights(
        self, solution: NDArray[np.float64], information: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Cauchy weights of the blocks."""
        return 1 / (1 + _chi2(self.residuals(solution), information) / (2 * _CAUCHY))

    def misfit(self, solution: NDArray[np.float64]) -> float:
        """The model error in px that makes the median residual as large as it is."""
        residuals = self.residuals(solution)
        low, high = 0.0, 30.0
        for _ in range(14):
            middle = (low + high) / 2
            if np.median(_chi2(residuals, self.information(middle))) > _MEDIAN_CHI2:
                low = middle
            else:
                high = middle
        return high if low > 0 else 0.0

    def prior(self, bend: float) -> NDArray[np.float64]:
        """(P, P) inverse covariance that the parameters have before anything is measured."""
        prior = np.zeros((self.jacobian.shape[2],) * 2)
        if self.model != HOMOGRAPHY:
            prior[range(_H, _H + _K), range(_H, _H + _K)] = _RADIAL_SIGMA**-2.0
        if self.model == FIELD:
            rows, columns = field_shape(self.current.phone_size)
            bending = _bending(rows, columns) / bend**2
            n = rows * columns
            for axis in (0, 1):
                start = _H + _K + axis * n
                prior[start : start + n, start : start + n] = bending
        return prior

    def updated(self, solution: NDArray[np.float64]) -> PairMap:
        """The current map with the increment applied."""
        parameters = self.parameters + solution
        size = self.current.phone_size
        increment = np.append(parameters[:_H], 0).reshape(3, 3) + np.eye(3)
        scale, centre = half_diagonal(size), centre_of(size)
        to_unit = np.array(
            [[1 / scale, 0, -centre[0] / scale], [0, 1 / scale, -centre[1] / scale], [0, 0, 1]]
        )
        homography = self.current.phone_to_dslr @ np.linalg.inv(to_unit) @ increment @ to_unit
        changed = replace(self.current, phone_to_dslr=homography / homography[2, 2])
        if self.model != HOMOGRAPHY:
            k1, k2, k3 = parameters[_H : _H + _K].tolist()
            changed = replace(changed, radial=(k1, k2, k3))
        if self.model == FIELD:
            rows, columns = field_shape(size)
            coefficients = parameters[_H + _K :].reshape(2, rows, columns)
            changed = replace(changed, field=np.moveaxis(coefficients, 0, -1).copy())
        return changed


def cross_validate(
    current: PairMap, blocks: Blocks, noise_factor: float, model: str, bends: Sequence[float]
) -> list[NDArray[np.float64]]:
    """Residuals of blocks in places that the fit did not use.

    The photo is cut into tiles; each fold holds out every fourth of them.

    Parameters
    ----------
    bends : sequence of float
        See `fit_map`; the residuals are given for each.

    Returns
    -------
    list of (N, 2) array
        In px.
    """
    problem = Problem(current, blocks, noise_factor, model)
    # One set of weights for all, so that all are judged by the same equations.
    _, weights, misfit = problem.solve_robustly(problem.prior(bends[len(bends) // 2]))
    information = problem.information(misfit)
    tile = tile_of(blocks.points, current.phone_size)
    fold = (tile[:, 0] + 2 * tile[:, 1]) % _FOLDS  # neighbouring tiles differ
    folds = [
        problem.normal_equations(np.where(fold == held_out, weights, 0), information)
        for held_out in range(_FOLDS)
    ]
    matrix = np.sum([part[0] for part in folds], axis=0)
    vector = np.sum([part[1] for part in folds], axis=0)
    result = []
    for bend in bends:
        prior = problem.prior(bend)
        residuals = np.zeros_like(blocks.shift)
        for held_out, (own_matrix, own_vector) in enumerate(folds):
            solution = np.linalg.solve(
                matrix - own_matrix + prior, vector - own_vector - prior @ problem.parameters
            )
            inside = fold == held_out
            residuals[inside] = problem.residuals(solution)[inside]
        result.append(residuals)
    return result


def tile_of(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Column and row `(N, 2)` of the square tile of the photo that each point lies in."""
    return np.floor((points + 0.5) / (max(size) / _TILES)).astype(np.int64)


def field_shape(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the field's control points for a photo of `(width, height)`."""
    spacing = max(size) / _FIELD_SPACING
    return round(size[1] / spacing) + 3, round(size[0] / spacing) + 3


def _parameters(current: PairMap, model: str) -> NDArray[np.float64]:
    """The current values; those of the homography count from the current one, so they are 0."""
    parts = [np.zeros(_H)]
    if model != HOMOGRAPHY:
        parts.append(np.array(current.radial))
    if model == FIELD:
        shape = (*field_shape(current.phone_size), 2)
        field = np.zeros(shape) if current.field is None else current.field
        parts.append(np.moveaxis(field, -1, 0).ravel())
    return np.concatenate(parts)


def _jacobian(current: PairMap, points: NDArray[np.float64], model: str) -> NDArray[np.float64]:
    """(N, 2, P) derivative of the straightened phone points by the parameters, in px."""
    scale, centre = half_diagonal(current.phone_size), centre_of(current.phone_size)
    x, y = ((points + current.displacement(points) - centre) / scale).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    across = np.stack([x, y, one, zero, zero, zero, -x * x, -x * y], axis=1)
    down = np.stack([zero, zero, zero, x, y, one, -x * y, -y * y], axis=1)
    parts = [scale * np.stack([across, down], axis=1)]
    if model != HOMOGRAPHY:
        offset = points - centre
        r2 = (offset**2).sum(axis=1) / scale**2
        powers = np.stack([r2, r2**2, r2**3], axis=1)
        parts.append(offset[:, :, None] * powers[:, None, :])
    if model == FIELD:
        shape = field_shape(current.phone_size)
        taps, weights = spline_basis(points, current.phone_size, shape)
        n = shape[0] * shape[1]
        basis = np.zeros((len(points), 2, 2 * n))
        rows = np.arange(len(points))[:, None]
        basis[rows, 0, taps] = weights
        basis[rows, 1, n + taps] = weights
        parts.append(basis)
    return np.concatenate(parts, axis=2)


def _bending(rows: int, columns: int) -> NDArray[np.float64]:
    """(RC, RC) quadratic form: squared second differences of the coefficients.

    A thousandth of their squares is added, since planes and constants belong to the homography.
    """
    identity_r, identity_c = np.eye(rows), np.eye(columns)
    second_r, second_c = np.diff(identity_r, 2, axis=0), np.diff(identity_c, 2, axis=0)
    first_r, first_c = np.diff(identity_r, axis=0), np.diff(identity_c, axis=0)
    mixed = np.kron(first_r, first_c)
    form = np.kron(identity_r, second_c.T @ second_c) + np.kron(second_r.T @ second_r, identity_c)
    return form + 2 * mixed.T @ mixed + 1e-3 * np.eye(rows * columns)


def _chi2(residuals: NDArray[np.float64], information: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("ni,nij,nj->n", residuals, information, residuals)


def _with_floor(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep an edge's information along itself from being exactly zero."""
    trace = information[:, 0, 0] + information[:, 1, 1]
    return information + (1e-3 * trace + 1e-9)[:, None, None] * np.eye(2)


def _inverse_2x2(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
    determinant = a * c - b * b
    return np.stack([c, -b, -b, a], axis=1).reshape(-1, 2, 2) / determinant[:, None, None]
