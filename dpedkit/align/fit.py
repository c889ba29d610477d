"""Robust fits of a map to measured block shifts: homography, lens distortion, smooth field.

All three are fitted jointly by iteratively reweighted least squares in phone pixels, as an
increment to the current map; priors regularise lens distortion and field towards zero.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.geometry import PairMap, Points, centre_of, half_diagonal, spline_basis

HOMOGRAPHY, RADIAL, FIELD = "homography", "radial", "field"

# Prior standard deviation of k1, k2, k3: phones correct distortion to within a few percent, and the
# terms of a lens model get smaller with their order.
_RADIAL_SIGMA = np.array([0.03, 0.01, 0.003])
_H, _K = 8, 3  # parameters of the homography and of the lens distortion
_MEDIAN_CHI2 = 1.386  # median of a chi-square with two degrees of freedom
_ROBUST_STEPS = 3
_MISFIT_SAMPLE = 600  # blocks, enough for a median
_MISFITS = (1e-3, 64.0)  # px
_HALVINGS = 8  # of that range on a logarithmic scale, which leaves 4%
_CAUCHY = 3.0  # chi-square per axis at which the weight is halved
_FIELD_SPACING = 10  # control points along the longer side of the phone photo
_FOLDS = 4
_TILES = 8  # along the longer side; a fold holds out whole tiles, never single blocks


@dataclass(frozen=True)
class Fit:
    """A fitted map with its goodness of fit.

    Attributes
    ----------
    map : PairMap
    weights : (N,) array
        Robust weight of each block; 1 if its residual is zero.
    misfit : float
        Standard deviation of the model error in phone px: residuals that noise does not explain.
    information : (P, P) array
        Inverse covariance of the parameters of `model`.
    """

    map: PairMap
    model: str
    weights: NDArray[np.float64]
    misfit: float
    information: NDArray[np.float64]

    def standard_error(self, points: Points) -> NDArray[np.float64]:
        """Expected error `(N,)` of the map at phone points `(N, 2)`, px."""
        rigid = _rigid_jacobian(self.map, points, self.model)
        basis = _field_basis(self.map, points, self.model)
        covariance = np.linalg.inv(self.information)
        variance = np.zeros(len(points))
        for axis in (0, 1):
            parts = [rigid[axis], np.zeros_like(basis), np.zeros_like(basis)]
            parts[1 + axis] = basis
            jacobian = np.concatenate(parts, axis=1)
            variance += ((jacobian @ covariance) * jacobian).sum(axis=1)
        return np.sqrt(variance)


def fit_map(
    current: PairMap, blocks: Blocks, noise_factor: float, model: str, bend: float = 1.0
) -> Fit:
    """Fit the map to block shifts measured under the current map.

    Parameters
    ----------
    blocks : Blocks
        In px of the full-size phone photo.
    noise_factor : float
        Variance of a shift relative to that for independent pixel noise.
    model : str
        "homography", "radial" or "field"; each includes the ones before it.
    bend : float
        Prior standard deviation of the second differences of the field's control points, in
        phone px: smaller is stiffer. Unused for the other models.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the blocks do not determine the map, for example if all lie on one line.
    """
    problem = Problem(current, blocks, noise_factor, model)
    solution, matrix, weights, misfit = problem.solve_robustly(problem.prior(bend))
    return Fit(problem.map_of(solution), model, weights, misfit, matrix)


class Problem:
    """The least-squares problem of one fit: rows are blocks, columns are model parameters.

    The eight parameters of the homography are relative to the current one; the others are
    absolute, so that dropping columns drops that part of the model. The field uses the same basis
    for x and y, so its part of the normal equations consists of three products of that basis.
    """

    def __init__(self, current: PairMap, blocks: Blocks, noise_factor: float, model: str) -> None:
        self.current, self.model = current, model
        self.rigid = _rigid_jacobian(current, blocks.points, model)  # (2, N, 8 or 11)
        self.basis = _field_basis(current, blocks.points, model)  # (N, control points or 0)
        self.count = self.rigid.shape[2] + 2 * self.basis.shape[1]
        self.covariance = noise_factor * _inverse_2x2(_with_floor(blocks.information))
        self.shift = blocks.shift
        start = _parameters(current, model)
        self.target = blocks.shift + self.predicted(start)  # (N, 2)

    def solve_robustly(
        self, prior: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
        """Iteratively reweighted least squares: the parameters, the matrix `(P, P)` that they were
        solved with, block weights and misfit."""
        residuals, solution = self.shift, np.zeros(self.count)
        for _ in range(_ROBUST_STEPS):
            misfit = self.misfit(residuals)
            weights = self.weights(residuals, misfit)
            matrix, vector = self.normal_equations(weights, self.information(misfit))
            matrix += prior
            solution = np.asarray(np.linalg.solve(matrix, vector), np.float64)
            residuals = self.target - self.predicted(solution)
        misfit = self.misfit(residuals)
        return solution, matrix, self.weights(residuals, misfit), misfit

    def information(self, misfit: float) -> NDArray[np.float64]:
        """(N, 2, 2) inverse covariance of the shifts, with a model error of `misfit` px."""
        return _inverse_2x2(self.covariance + misfit**2 * np.eye(2))

    def weights(self, residuals: NDArray[np.float64], misfit: float) -> NDArray[np.float64]:
        """(N,) Cauchy weights of the blocks."""
        return 1 / (1 + _chi2(residuals, self.information(misfit)) / (2 * _CAUCHY))

    def normal_equations(
        self,
        weights: NDArray[np.float64],
        information: NDArray[np.float64],
        rows: NDArray[np.bool_] | slice = slice(None),
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix `(P, P)` and right-hand side `(P,)` of the blocks in `rows`, without the prior."""
        (across, down), basis = self.rigid[:, rows], self.basis[rows]
        xx, xy, yy = (
            (weights[rows] * information[rows, row, column])[:, None]
            for row, column in ((0, 0), (0, 1), (1, 1))
        )
        target_x, target_y = self.target[rows, :1], self.target[rows, 1:]
        pulls = (xx * target_x + xy * target_y)[:, 0], (xy * target_x + yy * target_y)[:, 0]
        weighted = xx * across + xy * down, xy * across + yy * down
        n = across.shape[1]
        matrix, vector = np.empty((self.count, self.count)), np.empty(self.count)
        matrix[:n, :n] = across.T @ weighted[0] + down.T @ weighted[1]
        vector[:n] = across.T @ pulls[0] + down.T @ pulls[1]
        if basis.shape[1]:
            x, y = slice(n, n + basis.shape[1]), slice(n + basis.shape[1], None)
            for part, own, along, pull in zip((x, y), (xx, yy), weighted, pulls, strict=True):
                matrix[part, :n] = basis.T @ along
                matrix[:n, part] = matrix[part, :n].T
                matrix[part, part] = basis.T @ (own * basis)
                vector[part] = basis.T @ pull
            matrix[x, y] = basis.T @ (xy * basis)
            matrix[y, x] = matrix[x, y]
        return matrix, vector

    def predicted(
        self, solution: NDArray[np.float64], rows: NDArray[np.bool_] | slice = slice(None)
    ) -> NDArray[np.float64]:
        """(N, 2) shifts in px predicted by the parameters, or by the first few of them."""
        rigid = self.rigid[:, rows]
        n = min(rigid.shape[2], len(solution))
        moved: NDArray[np.float64] = (rigid[..., :n] @ solution[:n]).T
        if len(solution) > n:
            moved = moved + self.basis[rows] @ solution[n:].reshape(2, -1).T
        return moved

    def misfit(self, residuals: NDArray[np.float64]) -> float:
        """The model error in px that explains the median residual."""
        some = slice(None, None, max(1, len(residuals) // _MISFIT_SAMPLE))
        residuals, covariance = residuals[some], self.covariance[some]
        if _explains(0.0, residuals, covariance):
            return 0.0
        low, high = _MISFITS
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            if _explains(middle, residuals, covariance):
                high = middle
            else:
                low = middle
        return math.sqrt(low * high)

    def prior(self, bend: float) -> NDArray[np.float64]:
        """(P, P) inverse prior covariance of the parameters."""
        prior = np.zeros((self.count, self.count))
        if self.model != HOMOGRAPHY:
            prior[range(_H, _H + _K), range(_H, _H + _K)] = _RADIAL_SIGMA**-2.0
        if self.model == FIELD:
            bending = _bending(*field_shape(self.current.phone_size)) / bend**2
            for axis in (0, 1):
                part = slice(_H + _K + axis * len(bending), _H + _K + (axis + 1) * len(bending))
                prior[part, part] = bending
        return prior

    def map_of(self, solution: NDArray[np.float64]) -> PairMap:
        """The map that these parameters describe."""
        size = self.current.phone_size
        increment = np.append(solution[:_H], 0).reshape(3, 3) + np.eye(3)
        scale, centre = half_diagonal(size), centre_of(size)
        to_unit = np.array(
            [[1 / scale, 0, -centre[0] / scale], [0, 1 / scale, -centre[1] / scale], [0, 0, 1]]
        )
        homography = self.current.phone_to_dslr @ np.linalg.inv(to_unit) @ increment @ to_unit
        changed = replace(self.current, phone_to_dslr=homography / homography[2, 2])
        if self.model != HOMOGRAPHY:
            k1, k2, k3 = solution[_H : _H + _K].tolist()
            changed = replace(changed, radial=(k1, k2, k3))
        if self.model == FIELD:
            coefficients = solution[_H + _K :].reshape(2, *field_shape(size))
            changed = replace(changed, field=np.moveaxis(coefficients, 0, -1).copy())
        return changed


class CrossValidation:
    """How well each model predicts the shifts of held-out blocks.

    The photo is divided into tiles; each of four folds holds out every fourth tile.

    Parameters
    ----------
    current, blocks, noise_factor
        See `fit_map`.
    bend : float
        Stiffness of the field that the robust weights are computed with; see `fit_map`.
    """

    def __init__(self, current: PairMap, blocks: Blocks, noise_factor: float, bend: float) -> None:
        self._problem = problem = Problem(current, blocks, noise_factor, FIELD)
        # One set of weights for all models, so that all are compared on the same equations.
        _, _, weights, misfit = problem.solve_robustly(problem.prior(bend))
        information = problem.information(misfit)
        tile = tile_of(blocks.points, current.phone_size)
        fold = (tile[:, 0] + 2 * tile[:, 1]) % _FOLDS  # neighbouring tiles are in different folds
        self._folds = [
            (inside, *problem.normal_equations(weights, information, inside))
            for inside in (fold == held_out for held_out in range(_FOLDS))
        ]
        self._matrix = np.sum([own for _, own, _ in self._folds], axis=0)
        self._vector = np.sum([own for _, _, own in self._folds], axis=0)

    def homography(self) -> NDArray[np.float64]:
        """Residuals `(N, 2)` of the held-out blocks under a homography, in phone px."""
        return self._residuals(self._problem.prior(1.0)[:_H, :_H])

    def radial(self) -> NDArray[np.float64]:
        """Residuals `(N, 2)` with lens distortion, in phone px."""
        return self._residuals(self._problem.prior(1.0)[: _H + _K, : _H + _K])

    def field(self, bend: float) -> NDArray[np.float64]:
        """Residuals `(N, 2)` with a field of this stiffness, in phone px."""
        return self._residuals(self._problem.prior(bend))

    def _residuals(self, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        n = len(prior)
        residuals = np.zeros_like(self._problem.target)
        for inside, own_matrix, own_vector in self._folds:
            others = (self._matrix - own_matrix)[:n, :n] + prior
            solution = np.linalg.solve(others, (self._vector - own_vector)[:n])
            predicted = self._problem.predicted(solution, inside)
            residuals[inside] = self._problem.target[inside] - predicted
        return residuals


def tile_of(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Column and row `(N, 2)` of the tile of the photo that contains each point."""
    return np.floor((points + 0.5) / (max(size) / _TILES)).astype(np.int64)


def field_shape(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the field's control points for a photo of `(width, height)`."""
    spacing = max(size) / _FIELD_SPACING
    return round(size[1] / spacing) + 3, round(size[0] / spacing) + 3


def _parameters(current: PairMap, model: str) -> NDArray[np.float64]:
    """The current parameters; those of the homography are relative, so they are 0."""
    parts = [np.zeros(_H)]
    if model != HOMOGRAPHY:
        parts.append(np.array(current.radial))
    if model == FIELD:
        shape = (*field_shape(current.phone_size), 2)
        field = np.zeros(shape) if current.field is None else current.field
        parts.append(np.moveaxis(field, -1, 0).ravel())
    return np.concatenate(parts)


def _rigid_jacobian(
    current: PairMap, points: NDArray[np.float64], model: str
) -> NDArray[np.float64]:
    """(2, N, 8 or 11) Jacobian of the undistorted phone points, in px, with respect to the
    parameters of homography and lens distortion."""
    scale, centre = half_diagonal(current.phone_size), centre_of(current.phone_size)
    x, y = ((points + current.displacement(points) - centre) / scale).T
    result = np.zeros((2, len(points), _H if model == HOMOGRAPHY else _H + _K))
    for row, first in zip(result, (0, 3), strict=True):
        row[:, first], row[:, first + 1], row[:, first + 2] = scale * x, scale * y, scale
    across, down = result
    across[:, 6], across[:, 7] = -scale * x * x, -scale * x * y
    down[:, 6], down[:, 7] = across[:, 7], -scale * y * y
    if model != HOMOGRAPHY:
        offset = (points - centre).T
        r2 = (offset**2).sum(axis=0) / scale**2
        for power in range(_K):
            result[:, :, _H + power] = offset * r2 ** (power + 1)
    return result


def _field_basis(current: PairMap, points: NDArray[np.float64], model: str) -> NDArray[np.float64]:
    """(N, control points) basis of the field; no columns for other models."""
    if model != FIELD:
        return np.zeros((len(points), 0))
    shape = field_shape(current.phone_size)
    taps, weights = spline_basis(points, current.phone_size, shape)
    basis = np.zeros((len(points), shape[0] * shape[1]))
    basis[np.arange(len(points))[:, None], taps] = weights
    return basis


@functools.cache
def _bending(rows: int, columns: int) -> NDArray[np.float64]:
    """(RC, RC) thin-plate penalty: squared second differences of the coefficients.

    A small ridge also penalises constants and planes, which belong to the homography.
    """
    identity_r, identity_c = np.eye(rows), np.eye(columns)
    second_r, second_c = np.diff(identity_r, 2, axis=0), np.diff(identity_c, 2, axis=0)
    first_r, first_c = np.diff(identity_r, axis=0), np.diff(identity_c, axis=0)
    mixed = np.kron(first_r, first_c)
    form = np.kron(identity_r, second_c.T @ second_c) + np.kron(second_r.T @ second_r, identity_c)
    return form + 2 * mixed.T @ mixed + 1e-3 * np.eye(rows * columns)


def _chi2(residuals: NDArray[np.float64], information: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = residuals.T
    a, b, c = information[:, 0, 0], information[:, 0, 1], information[:, 1, 1]
    return a * x * x + 2 * b * x * y + c * y * y


def _explains(
    misfit: float, residuals: NDArray[np.float64], covariance: NDArray[np.float64]
) -> bool:
    """Whether the median residual is as small as expected with a model error of `misfit` px."""
    x, y = residuals.T
    a, b = covariance[:, 0, 0] + misfit**2, covariance[:, 0, 1]
    c = covariance[:, 1, 1] + misfit**2
    chi2 = (c * x * x - 2 * b * x * y + a * y * y) / (a * c - b * b)
    return bool(2 * np.count_nonzero(chi2 <= _MEDIAN_CHI2) >= len(chi2))


def _with_floor(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep an edge's information along itself above zero."""
    trace = information[:, 0, 0] + information[:, 1, 1]
    return information + (1e-3 * trace + 1e-9)[:, None, None] * np.eye(2)


def _inverse_2x2(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
    inverse = np.empty_like(matrix)
    determinant = a * c - b * b
    inverse[:, 0, 0], inverse[:, 1, 1] = c / determinant, a / determinant
    inverse[:, 0, 1] = inverse[:, 1, 0] = -b / determinant
    return inverse
