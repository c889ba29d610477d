"""Sub-pixel registration of one window: shift and rotation, with their standard error.

The template window is fixed; the window in the other image moves to

    x -> centre + R(angle) (x - centre) + shift        (centre: of the template window)

Inverse compositional Gauss-Newton (Baker and Matthews, 2004) on slightly smoothed full-size images
estimates shift and angle jointly. If it does not match well, it is started again from an integer
search by normalised cross-correlation on half-size images. Gain and offset are eliminated in every
step, so the least-squares solution maximises the NCC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

# Sigma of the smoothing before registration, px. Without it, noise and the blur of bilinear
# interpolation bias the result: the NCC of unsmoothed windows grows with any interpolation.
_SMOOTHING = 1.0

# Lighting and tone curves of two photos differ, which in windows with little texture looks like a
# shift. So brightness and contrast are normalised over this neighbourhood.
_NEIGHBOURHOOD = (9, 9)  # points on a grid of every fourth pixel
_LEAST_CONTRAST = 4.0  # grey levels; avoids amplifying noise

_ITERATIONS = 8
_LAST_STEP = 0.1  # px at the corner of the window; steps shrink tenfold, so the next is negligible
# px; two lenses blur differently and asymmetrically, so fine and coarse detail give shifts that
# differ by this much, however much detail there is.
_BIAS = 0.05

_NEAR = 0.5  # px; from here on the gradients of the two windows correspond
_LONGEST_STEP = 3.0  # px
_TINY = 1e-12  # instead of the zero energy of a constant window
_SINGULAR = 1e-3  # determinant of a Hessian scaled to unit diagonal
_SEARCH_STEP = 2.0  # px of the full-size image per pixel of the half-size one

# The alignment is trusted unless the window clearly contradicts it. A peak elsewhere that is hardly
# better is due to repeated texture, or to an edge, which does not constrain the shift along itself.
_CLEARLY_BETTER = 0.8
_EXPLAINED = 0.9  # NCC from which on no better match is searched for

_BLOCKS = 5  # residuals are independent between 5x5 blocks, not between pixels


@dataclass(frozen=True)
class Motion:
    """A rigid motion of a window and its evidence.

    Attributes
    ----------
    shift : tuple of float
        `(x, y)` in px.
    angle : float
        Degrees, positive from the x axis towards the y axis (clockwise on the screen).
    shift_error : float
        Standard error of the shift in its least certain direction, px; infinite if the window has
        nothing to register.
    evidence : float
        Wald statistic of this motion against no motion, 3 degrees of freedom.
    ncc : float
        NCC of the smoothed windows under this motion.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    shift_error: float = float("inf")
    evidence: float = 0.0
    ncc: float = 0.0

    def matrix(self, x: float, y: float, size: int) -> NDArray[np.float64]:
        """(2, 3) affine matrix from pixels of the patch to pixels of the moved image.

        Parameters
        ----------
        x, y : float
            Corner of the template window.
        size : int
            Side of the window, px.
        """
        half = (size - 1) / 2
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        left = x + half + self.shift[0] - (cos - sin) * half
        top = y + half + self.shift[1] - (cos + sin) * half
        return np.array([[cos, -sin, left], [sin, cos, top]])


@dataclass(frozen=True)
class Planes:
    """One image prepared for registration.

    Attributes
    ----------
    full : (H, W) float32
        Luma, smoothed and locally normalised.
    half : (H // 2, W // 2) float32
        The same at half size; pixel (i, j) is the mean of 2x2 pixels of `full`.
    """

    full: Image
    half: Image

    @classmethod
    def of(cls, luma: Image) -> Planes:
        """Prepare `(H, W) float32` luma from 0 to 255."""
        full = cv2.GaussianBlur(luma, (0, 0), _SMOOTHING)
        mean, contrast = _local_statistics(full)
        full -= mean
        full /= contrast + _LEAST_CONTRAST
        return cls(full, _halved(full))


def _local_statistics(image: Image) -> tuple[Image, Image]:
    """Local mean and standard deviation, computed on a grid of every fourth pixel."""
    height, width = image.shape
    mean, square = (
        cv2.blur(_halved(_halved(plane)), _NEIGHBOURHOOD) for plane in (image, image * image)
    )
    deviation = cv2.sqrt(cv2.max(square - mean * mean, 0))
    return cv2.resize(mean, (width, height)), cv2.resize(deviation, (width, height))


def _halved(image: Image) -> Image:
    """(H // 2, W // 2) means of 2x2 pixels; an odd last row or column is dropped."""
    height, width = image.shape
    even = image[: height // 2 * 2, : width // 2 * 2]
    return np.asarray(cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA))


def register(
    template: Planes, moving: Planes, x: int, y: int, size: int, max_shift: float
) -> Motion:
    """Estimate the motion of the window at `(x, y)` that maximises the NCC.

    Parameters
    ----------
    template, moving : Planes
        Of two images of the same size, aligned to within a few px.
    x, y : int
        Corner of the window in both images.
    size : int
        Side of the window, px.
    max_shift : float
        Range of the integer search in x and in y, px; Gauss-Newton may go further.

    Returns
    -------
    Motion
        The best motion; for a constant window no motion, with an infinite `shift_error`.
    """
    fit = _Fit(template.full[y : y + size, x : x + size])
    motion = fit.solve(moving.full, x, y, (0.0, 0.0))
    if motion.ncc > _EXPLAINED:
        return motion
    start = _search(template.half, moving.half, x, y, size, max_shift)
    if max(abs(start[0] - motion.shift[0]), abs(start[1] - motion.shift[1])) > _SEARCH_STEP:
        elsewhere = fit.solve(moving.full, x, y, start)
        if 1 - elsewhere.ncc < _CLEARLY_BETTER * (1 - motion.ncc):
            return elsewhere
    return motion


def _search(
    template: Image, moving: Image, x: int, y: int, size: int, max_shift: float
) -> tuple[float, float]:
    """The shift in px with the highest NCC among integer shifts of the half-size images."""
    left, top, side = (x + 1) // 2, (y + 1) // 2, size // 2 - 1
    window = template[top : top + side, left : left + side]
    reach = int(np.ceil(max_shift / 2))
    x0, y0 = max(left - reach, 0), max(top - reach, 0)
    region = moving[y0 : top + side + reach, x0 : left + side + reach]
    scores = cv2.matchTemplate(region, window, cv2.TM_CCOEFF_NORMED)
    column, row = cv2.minMaxLoc(scores)[3]
    return _SEARCH_STEP * (column + x0 - left), _SEARCH_STEP * (row + y0 - top)


class _Fit:
    """Inverse compositional Gauss-Newton for one template window.

    J (3, S*S) contains the derivatives of the template with respect to shift x, shift y and angle,
    orthogonalised against gain and offset. The first steps use J J^T. The last ones, and the
    standard error, use J K^T instead, with K from the moved window: noise inflates J J^T, so a
    noisy window would stop early and seem certain, but the noise of two photos is independent, and
    does not contribute to J K^T.

    J itself is never formed: it is `rows` minus `sums / S^2` (offset) and `along * target` (gain),
    and its products are computed from those of these terms.
    """

    def __init__(self, window: Image) -> None:
        self.size = window.shape[0]
        self.target = cv2.subtract(window, cv2.mean(window)[0]).ravel()
        self.energy = float(self.target @ self.target)
        self.rows = _derivatives(window)
        self.sums = _sums(self.rows)
        self.along = self.rows @ self.target / max(self.energy, _TINY)

    def solve(self, moving: Image, x: int, y: int, start: tuple[float, float]) -> Motion:
        """Maximise the NCC from a start shift in px."""
        motion = Motion(start)
        inverse = _inverse(self._hessian(self.rows))
        common: NDArray[np.float64] | None = None
        for _ in range(_ITERATIONS):
            moved = moved_window(moving, motion, x, y, self.size)
            fit = self._compare(moved)
            if inverse is None:
                return Motion(start, ncc=fit.ncc)
            step = inverse @ fit.slope
            if common is None and self._reach(step) < _NEAR:
                inverse = common = _inverse(fit.gain * self._hessian(_derivatives(moved)))
                if inverse is None:
                    return Motion(start, ncc=fit.ncc)
                step = inverse @ fit.slope
            reach = self._reach(step)
            motion = _compose(motion, step * min(1.0, _LONGEST_STEP / max(reach, 1e-9)))
            if common is not None and reach < _LAST_STEP:
                break
        if common is None:
            return Motion(start, ncc=fit.ncc)
        return self._with_evidence(motion, moved, fit, common)

    def _reach(self, step: NDArray[np.float64]) -> float:
        """Upper bound of how far a step moves the corners of the window, px."""
        return float(abs(step[0]) + abs(step[1]) + abs(step[2]) * self.size)

    def _compare(self, moved: Image) -> _Comparison:
        """Compare the moved window with the template, up to gain and offset."""
        flat = moved.ravel()
        mean = cv2.mean(moved)[0]
        cross = float(flat @ self.target)
        power = float(flat @ flat) - flat.size * mean * mean
        if power <= 0 or self.energy <= 0:
            return _Comparison(mean, 0.0, 0.0, np.zeros(3))
        gain = cross / power
        slope = gain * (self.rows @ flat - self.sums * mean - self.along * cross)
        return _Comparison(mean, gain, cross / math.sqrt(power * self.energy), slope)

    def _hessian(self, rows: Image) -> NDArray[np.float64]:
        """Symmetric part of J K^T, with K the derivatives `rows` of any window."""
        # Separate dot products: BLAS is 3 times slower on such a long, narrow product.
        product = np.array([[ours @ theirs for theirs in rows] for ours in self.rows], np.float64)
        product -= self.sums[:, None] * _sums(rows) / self.target.size
        product -= self.along[:, None] * (rows @ self.target)
        return (product + product.T) / 2

    def _with_evidence(
        self, motion: Motion, moved: Image, fit: _Comparison, inverse: NDArray[np.float64]
    ) -> Motion:
        """Add the cluster-robust ("sandwich") standard error, with blocks as clusters."""
        planes = np.empty((5, self.target.size), np.float32)
        residual = planes[4]
        np.multiply(moved.ravel(), np.float32(fit.gain), out=residual)
        residual -= self.target + np.float32(fit.gain * fit.mean)
        np.multiply(self.rows, residual, out=planes[:3])
        np.multiply(self.target, residual, out=planes[3])
        sums = _block_sums(planes, self.size)
        scores = sums[:3] - self.along[:, None] * sums[3]
        scores -= self.sums[:, None] * sums[4] / self.target.size
        scores -= scores.mean(axis=1)[:, None]  # removed by the last step
        covariance = inverse @ (scores @ scores.T) @ inverse
        shift_error = _largest_axis(covariance[0, 0], covariance[0, 1], covariance[1, 1])
        radius = self.size / math.sqrt(6)  # root mean square distance from the window's centre
        covariance[[0, 1, 2], [0, 1, 2]] += _BIAS**2, _BIAS**2, (_BIAS / radius) ** 2
        found = np.array([*motion.shift, math.radians(motion.angle)])
        evidence = float(found @ np.linalg.solve(covariance, found))
        return Motion(motion.shift, motion.angle, shift_error, evidence, fit.ncc)


@dataclass(frozen=True)
class _Comparison:
    """Comparison of a moved window with the template.

    Attributes
    ----------
    mean : float
        Of the moved window.
    gain : float
        Least-squares gain from the moved window to the template, after removing the means.
    ncc : float
    slope : (3,) float64
        J times the residual.
    """

    mean: float
    gain: float
    ncc: float
    slope: NDArray[np.float64]


def moved_window(moving: Image, motion: Motion, x: int, y: int, size: int) -> Image:
    """The moving image sampled at the moved window of corner `(x, y)`: (S, S) float32."""
    left, top = x + motion.shift[0], y + motion.shift[1]
    whole = motion.angle == 0 and left.is_integer() and top.is_integer()
    if whole and left >= 0 and top >= 0:
        window = moving[int(top) : int(top) + size, int(left) : int(left) + size]
        if window.shape == (size, size):
            return np.ascontiguousarray(window)
    return np.asarray(
        cv2.warpAffine(
            moving,
            motion.matrix(x, y, size),
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )


def _derivatives(window: Image) -> Image:
    """(3, S*S) derivatives of a window by shift x, shift y and angle; 0 at the border."""
    u, v = _centred_grid(len(window))
    rows = np.zeros((3, *window.shape), np.float32)
    np.subtract(window[:, 2:], window[:, :-2], out=rows[0, :, 1:-1])
    np.subtract(window[2:], window[:-2], out=rows[1, 1:-1])
    rows[:2] *= 0.5
    np.multiply(u, rows[1], out=rows[2])
    rows[2] -= v * rows[0]
    return rows.reshape(3, -1)


def _sums(rows: Image) -> NDArray[np.float64]:
    """Sum of each row: (R,)."""
    return np.array([cv2.sumElems(row)[0] for row in rows])


def _block_sums(planes: Image, size: int) -> NDArray[np.float64]:
    """Sums over 5x5 blocks of each of the `(P, S*S)` planes: (P, 25)."""
    tall = planes.reshape(-1, size)
    means = cv2.resize(tall, (_BLOCKS, _BLOCKS * len(planes)), interpolation=cv2.INTER_AREA)
    return means.reshape(len(planes), -1) * np.float64((size / _BLOCKS) ** 2)


def _compose(motion: Motion, step: NDArray[np.float64]) -> Motion:
    """The motion composed with the inverse of a step of the template: W o W(step)^-1."""
    dx, dy, turn = map(float, step)
    angle = math.radians(motion.angle) - turn
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = motion.shift
    shift = (x - (cos * dx - sin * dy), y - (sin * dx + cos * dy))
    return Motion(shift, math.degrees(angle))


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Inverse of a symmetric 3x3 matrix; None unless it is safely positive definite."""
    (a, b, c), (_, d, e), (_, _, f) = matrix.tolist()
    minor = a * d - b * b
    first = (d * f - e * e, c * e - b * f, b * e - c * d)  # of the adjugate
    determinant = a * first[0] + b * first[1] + c * first[2]
    # Sylvester's criterion, with a determinant well above rounding errors.
    if not (a > 0 and minor > 0 and determinant > _SINGULAR * a * d * f):
        return None
    second, last = (a * f - c * c, b * c - a * e), minor
    adjugate = [first, (first[1], *second), (first[2], second[1], last)]
    return np.array(adjugate) / determinant


def _largest_axis(xx: float, xy: float, yy: float) -> float:
    """Standard deviation along the major axis of a 2x2 covariance."""
    middle = (xx + yy) / 2
    return float(np.sqrt(max(middle + np.hypot((xx - yy) / 2, xy), 0.0)))


@lru_cache(maxsize=4)
def _centred_grid(size: int) -> tuple[Image, Image]:
    axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
    u, v = np.meshgrid(axis, axis)
    return u, v
