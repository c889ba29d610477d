"""The map from phone pixels to DSLR pixels: homography, lens distortion, field and surfaces.

Points are `(x, y)` in pixels, with pixel centres at integers. A map is given in the pixels of the
full-size upright photos; `resize_points` converts points to other sizes of the same photo.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.arrays import check_points
from dpedkit.surfaces import Surfaces

Points = NDArray[np.float64]
Rectangle = tuple[int, int, int, int]  # x, y, width, height in px

_INVERSE_STEPS = 25
_INVERSE_TOLERANCE = 1e-9  # px


@dataclass(frozen=True)
class PairMap:
    """The map from phone pixels to DSLR pixels, and its inverse.

    A phone point `p` is first undistorted, `q = p + (p - c) (k1 r^2 + k2 r^4 + k3 r^6) + f(p)`,
    with `c` the centre of the phone photo and `r = |p - c| / (half its diagonal)`, then mapped by
    the homography. `f` is a uniform cubic B-spline field plus the displacement of the surfaces;
    both are optional.

    Attributes
    ----------
    phone_to_dslr : (3, 3) array
        Homography, applied to undistorted points; its last element is 1.
    phone_size, dslr_size : tuple of int
        `(width, height)` of the upright photos in px.
    radial : tuple of float
        `(k1, k2, k3)`, dimensionless.
    field : (R, C, 2) array or None
        B-spline coefficients in phone px; the R x C control points cover the phone photo, with one
        more beyond each edge.
    surfaces : Surfaces or None
        Displacements at several depths, and where the map holds.
    """

    phone_to_dslr: NDArray[np.float64]
    phone_size: tuple[int, int]
    dslr_size: tuple[int, int]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    field: NDArray[np.float64] | None = field(default=None)
    surfaces: Surfaces | None = None

    def __call__(self, points: Points) -> Points:
        """DSLR points, `(N, 2)`, of the phone points `(N, 2)`."""
        undistorted: Points = check_points(points)
        undistorted = undistorted + self.displacement(undistorted)
        return apply_homography(self.phone_to_dslr, undistorted)

    def inverse(self, points: Points, tolerance: float = _INVERSE_TOLERANCE) -> Points:
        """Phone points, `(N, 2)`, of the DSLR points `(N, 2)`, to within a tolerance in px."""
        dslr_to_phone = np.linalg.inv(self.phone_to_dslr)
        undistorted = apply_homography(dslr_to_phone, check_points(points))
        phone = undistorted.copy()
        for _ in range(_INVERSE_STEPS):
            # Fixed-point iteration; the displacement varies slowly, so it is a contraction.
            step = undistorted - self.displacement(phone) - phone
            phone += step
            if np.abs(step).max(initial=0) < tolerance:
                break
        return phone

    def displacement(self, points: Points) -> Points:
        """Displacement of the phone points `(N, 2)` by distortion, field and surfaces, px."""
        moved = np.zeros_like(points)
        if any(self.radial):
            x, y = (points - centre_of(self.phone_size)).T
            r2 = (x * x + y * y) / half_diagonal(self.phone_size) ** 2
            k1, k2, k3 = self.radial
            factor = r2 * (k1 + r2 * (k2 + r2 * k3))
            moved[:, 0], moved[:, 1] = x * factor, y * factor
        if self.field is not None:
            rows, columns = self.field.shape[:2]
            taps, weights = spline_basis(points, self.phone_size, (rows, columns))
            coefficients = self.field.reshape(-1, 2)
            for tap in range(taps.shape[1]):
                moved += weights[:, tap, None] * coefficients.take(taps[:, tap], axis=0)
        if self.surfaces is not None:
            moved += self.surfaces.displacement_at(points)
        return moved

    def holds(self, points: Points) -> NDArray[np.bool_]:
        """Whether `(N,)` the map is known to hold at the phone points `(N, 2)`."""
        if self.surfaces is None:
            return np.ones(len(points), bool)
        return self.surfaces.holds(points)

    def scale_at(self, point: Points) -> float:
        """DSLR pixels per phone pixel at a phone point `(2,)`: the square root of the area ratio.

        Surfaces are ignored, since their displacement may be discontinuous there.
        """
        corners = np.asarray(point) + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        origin, right, down = replace(self, surfaces=None)(corners)
        area = np.linalg.det(np.stack([right - origin, down - origin]))
        return float(np.sqrt(abs(area)))

    def to_dict(self) -> dict[str, Any]:
        """The map as JSON-ready values; `from_dict` restores it bit for bit."""
        values = {
            "phone_to_dslr": self.phone_to_dslr.tolist(),
            "phone_size": list(self.phone_size),
            "dslr_size": list(self.dslr_size),
            "radial": list(self.radial),
            "field": None if self.field is None else self.field.tolist(),
        }
        if self.surfaces is not None:
            values["surfaces"] = self.surfaces.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Restore a map from the values of `to_dict`."""
        spline, surfaces = values.get("field"), values.get("surfaces")
        k1, k2, k3 = values.get("radial", (0.0, 0.0, 0.0))
        return cls(
            np.array(values["phone_to_dslr"], np.float64),
            (values["phone_size"][0], values["phone_size"][1]),
            (values["dslr_size"][0], values["dslr_size"][1]),
            (k1, k2, k3),
            None if spline is None else np.array(spline, np.float64),
            None if surfaces is None else Surfaces.from_dict(surfaces),
        )


def centre_of(size: tuple[int, int]) -> Points:
    """The centre `(2,)` of a photo of `(width, height)`, in px."""
    return np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])


def half_diagonal(size: tuple[int, int]) -> float:
    """Half the diagonal of a photo of `(width, height)`, in px; there, r = 1."""
    return float(np.hypot(size[0], size[1]) / 2)


def apply_homography(homography: NDArray[Any], points: NDArray[Any]) -> Points:
    """Map points `(N, 2)` by a homography `(3, 3)`."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[:, :2] / mapped[:, 2:]


def resize_points(points: Points, from_size: tuple[int, int], to_size: tuple[int, int]) -> Points:
    """Convert points `(N, 2)` from one size of a photo to another, both `(width, height)`."""
    scale = np.array(to_size, np.float64) / np.array(from_size, np.float64)
    return (points + 0.5) * scale - 0.5


def resize_matrix(from_size: tuple[int, int], to_size: tuple[int, int]) -> NDArray[np.float64]:
    """`resize_points` as a `(3, 3)` homography."""
    sx, sy = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], np.float64)


def grid_points(xs: NDArray[Any], ys: NDArray[Any]) -> Points:
    """The points `(len(ys) * len(xs), 2)` of a grid, row by row."""
    x, y = np.meshgrid(xs, ys)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def spline_basis(
    points: Points, size: tuple[int, int], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The control points of a uniform cubic B-spline that affect each point, and their weights.

    Parameters
    ----------
    points : (N, 2) array
        In px of a photo of `size`; points beyond an edge take the value at that edge.
    size : tuple of int
        `(width, height)` of the photo that the control points cover.
    shape : tuple of int
        Rows and columns of control points, at least 4 each.

    Returns
    -------
    taps : (N, 16) int array
        Indices into the control points, row by row.
    weights : (N, 16) array
        Weights of these control points; each row sums to 1.
    """
    rows, columns = shape
    column_taps, column_weights = _spline_basis_1d(points[:, 0], size[0], columns)
    row_taps, row_weights = _spline_basis_1d(points[:, 1], size[1], rows)
    taps = row_taps[:, :, None] * columns + column_taps[:, None, :]
    weights = row_weights[:, :, None] * column_weights[:, None, :]
    return taps.reshape(-1, 16), weights.reshape(-1, 16)


def _spline_basis_1d(
    x: NDArray[np.float64], length: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    spans = count - 3
    position = np.clip((x + 0.5) / length, 0.0, 1.0) * spans
    first = np.minimum(position.astype(np.int64), spans - 1)
    t = position - first
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    return first[:, None] + np.arange(4), weights / 6
