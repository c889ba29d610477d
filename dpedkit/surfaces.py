"""The surfaces of a scene with depth, their displacements, and where the map holds.

Two cameras side by side see near objects displaced against far ones, so no single smooth map fits
both photos. A grid of cells over the phone photo holds for each cell the surface that it shows, or
the reason why the map is not known to hold there, and the displacement that its surface adds to the
map.
"""

from __future__ import annotations

import base64
import binascii
import operator
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

NOWHERE, NOT_FOUND, ON_EDGE = 0, 254, 255  # labels of cells where the map is not known to hold
DOMINANT = 1  # label of the largest surface
UNKNOWN, HOLDS, EDGE, MISSING = 0, 1, 2, 3  # what is known of a pixel, see `Surfaces.known`
_UNITS = 64  # displacements are stored in units of 1/64 px
_MAX_CELLS = 8192  # along a side
_SAMPLES = 200  # along the shorter side of a rectangle, for the share of it where the map holds


@dataclass(frozen=True)
class Layer:
    """A piecewise smooth displacement on a grid of square cells over the phone photo.

    Each cell extrapolates its displacement by the slope to its neighbours on the same surface;
    between the centres of cells these are blended bilinearly. Cells of other surfaces are ignored.

    Attributes
    ----------
    cell : float
        Side of a cell, phone px. The first cell starts at the top left corner of the photo.
    surface : (R, C) uint8 array
        Number of the surface of each cell.
    displacement : (R, C, 2) float64 array
        Displacement of the phone points before the homography, px, in multiples of 1/64.
    """

    cell: float
    surface: NDArray[np.uint8]
    displacement: NDArray[np.float64]

    def displacement_at(self, points: Points) -> Points:
        """Displacement `(N, 2)` of the phone points `(N, 2)`, px."""
        if self._nothing:
            return np.zeros(points.shape)
        rows, columns = self.surface.shape
        numbers, planes = self.surface.ravel(), self._planes.reshape(-1, 6)
        column, row = _cells(points, self.cell, self.surface.shape)
        surface = numbers.take(row * columns + column)
        place = (points + 0.5) / self.cell - 0.5
        first = np.floor(place).astype(np.int64)
        (part_x, part_y), (first_x, first_y) = (place - first).T, first.T
        # Planes are blended by blending their coefficients.
        blended, total = np.zeros((len(points), 6)), np.zeros(len(points))
        for down in (0, 1):
            above = np.clip(first_y + down, 0, rows - 1) * columns
            weight_y = part_y if down else 1 - part_y
            for right in (0, 1):
                cell = above + np.clip(first_x + right, 0, columns - 1)
                weight = weight_y * (part_x if right else 1 - part_x)
                # The cell that contains a point is one of the four, so the total is never zero.
                weight *= numbers.take(cell) == surface
                blended += weight[:, None] * planes.take(cell, axis=0)
                total += weight
        moved = blended[:, :2] + place[:, :1] * blended[:, 2:4] + place[:, 1:] * blended[:, 4:]
        moved /= total[:, None]
        return moved

    @cached_property
    def _nothing(self) -> bool:
        return not self.displacement.any()

    @cached_property
    def _planes(self) -> NDArray[np.float64]:
        """(R, C, 6) the plane through each cell: its displacement in the first cell of the grid,
        and its changes per cell along x and along y."""
        along_x, along_y = self._slope(1), self._slope(0)
        rows, columns = self.surface.shape
        height = self.displacement - along_x * np.arange(columns)[:, None]
        height -= along_y * np.arange(rows)[:, None, None]
        return np.concatenate([height, along_x, along_y], axis=2)

    def _slope(self, axis: int) -> NDArray[np.float64]:
        """(R, C, 2) mean change of the displacement per cell along an axis, to neighbours on the
        same surface."""
        step = np.diff(self.displacement, axis=axis)
        same = np.diff(self.surface.astype(np.int16), axis=axis) == 0
        step = step * same[..., None]
        pad = [(0, 0)] * 3
        before, after = pad.copy(), pad.copy()
        before[axis], after[axis] = (1, 0), (0, 1)
        total = np.pad(step, before) + np.pad(step, after)
        count = np.pad(same, before[:2]).astype(int) + np.pad(same, after[:2])
        return np.asarray(total / np.maximum(count, 1)[..., None])


@dataclass(frozen=True)
class Surfaces:
    """The surface of each cell of the phone photo, its displacement, and where the map holds.

    Attributes
    ----------
    cell : float
        Side of a cell, phone px. The first cell starts at the top left corner of the photo.
    labels : (R, C) uint8 array
        1 for the dominant surface, then 2, 3, ...; 255 on a depth discontinuity between two
        surfaces; 254 where detail of the phone photo was not found in the DSLR photo (occluded,
        moved, or the map is wrong); 0 where there is no detail to decide.
    layer : Layer
        The displacement. Its cells may be larger than those of `labels`.
    other : Layer, optional
        Equal to `layer`, except that along edges it extends the other of the two surfaces.
    shows_other : (R, C) bool array, optional
        Cells that take their displacement from `other`.
    """

    cell: float
    labels: NDArray[np.uint8]
    layer: Layer
    other: Layer | None = None
    shows_other: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, cell: float, labels: NDArray[np.uint8], displacement: NDArray[np.float64]) -> Self:
        """From labels `(R, C)` and a displacement `(R, C, 2)` in px, which is rounded to 1/64."""
        return cls(cell, labels, Layer(cell, labels, np.rint(displacement * _UNITS) / _UNITS))

    def label_at(self, points: Points) -> NDArray[np.uint8]:
        """Labels `(N,)` of the cells that contain the phone points `(N, 2)`; beyond the photo, of
        the nearest ones."""
        column, row = _cells(points, self.cell, self.labels.shape)
        return self.labels[row, column]

    def displacement_at(self, points: Points) -> Points:
        """Displacement `(N, 2)` of the phone points `(N, 2)`, px."""
        moved = self.layer.displacement_at(points)
        if self.other is not None and self.shows_other is not None:
            column, row = _cells(points, self.cell, self.labels.shape)
            taken = self.shows_other[row, column]
            moved[taken] = self.other.displacement_at(points[taken])
        return moved

    @property
    def count(self) -> int:
        """Number of surfaces."""
        labels = self.labels[(self.labels != NOWHERE) & (self.labels < NOT_FOUND)]
        return len(np.unique(labels))

    def holds(self, points: Points) -> NDArray[np.bool_]:
        """Whether `(N,)` the map holds at the phone points `(N, 2)`."""
        label = self.label_at(points)
        return (label != NOWHERE) & (label < NOT_FOUND)

    def share_held(self, rectangle: tuple[int, int, int, int]) -> float:
        """Share of a rectangle `(x, y, width, height)` of the phone photo where the map holds."""
        x, y, width, height = rectangle
        if width * height == 0:
            return 0.0
        step = max(self.cell / 2, min(width, height) / _SAMPLES, 1.0)
        across, down = np.arange(x, x + width, step), np.arange(y, y + height, step)
        points = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
        return float(self.holds(points).mean())

    def known(self, rectangle: tuple[int, int, int, int]) -> NDArray[np.uint8]:
        """What is known of each pixel of a rectangle `(x, y, width, height)` of the phone photo.

        Returns
        -------
        (height, width) uint8 array
            `HOLDS`; `EDGE` on depth discontinuities; `MISSING` where detail was not found in the
            DSLR photo; `UNKNOWN` where there is no detail to decide.
        """
        x, y, width, height = rectangle
        state = np.full(self.labels.shape, HOLDS, np.uint8)
        state[self.labels == NOWHERE] = UNKNOWN
        state[self.labels == ON_EDGE] = EDGE
        state[self.labels == NOT_FOUND] = MISSING
        across = np.stack([np.arange(x, x + width, dtype=np.float64), np.zeros(width)], axis=1)
        down = np.stack([np.zeros(height), np.arange(y, y + height, dtype=np.float64)], axis=1)
        column, _ = _cells(across, self.cell, self.labels.shape)
        _, row = _cells(down, self.cell, self.labels.shape)
        return state[row[:, None], column[None, :]]

    def to_dict(self) -> dict[str, Any]:
        """The surfaces as JSON-ready values; `from_dict` restores them bit for bit."""
        values: dict[str, Any] = {
            "cell": self.cell,
            "shape": list(self.labels.shape),
            "labels": _packed(self.labels),
        }
        if self.layer.surface is not self.labels:
            values["layer_cell"] = self.layer.cell
            values["layer_shape"] = list(self.layer.surface.shape)
            values["surface"] = _packed(self.layer.surface)
        units = _units(self.layer)
        values["displacement"] = _packed_steps(units)
        if self.other is not None and self.shows_other is not None:
            # Away from edges both layers are equal, so their difference compresses well.
            values["other_surface"] = _packed(self.other.surface - self.layer.surface)
            values["other_displacement"] = _packed_steps(_units(self.other) - units)
            values["shows_other"] = _packed(np.packbits(self.shows_other))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Restore surfaces from the values of `to_dict`.

        Raises
        ------
        ValueError
            If the values are inconsistent.
        """
        try:
            cell, shape = _grid(values["cell"], values["shape"])
            labels = _bytes(values["labels"], shape)
            if "surface" not in values:
                units = _steps(values["displacement"], shape)
                return cls(cell, labels, Layer(cell, labels, units / _UNITS))
            wide, fewer = _grid(values["layer_cell"], values["layer_shape"])
            surface, units = _bytes(values["surface"], fewer), _steps(values["displacement"], fewer)
            layer = Layer(wide, surface, units / _UNITS)
            if "shows_other" not in values:
                return cls(cell, labels, layer)
            other = Layer(
                wide,
                surface + _bytes(values["other_surface"], fewer),
                (units + _steps(values["other_displacement"], fewer)) / _UNITS,
            )
            count = shape[0] * shape[1]
            bits = np.frombuffer(_unpacked(values["shows_other"], -(-count // 8)), np.uint8)
        except (KeyError, TypeError) as error:
            raise ValueError(f"surfaces without {error}") from None
        shows_other = np.unpackbits(bits, count=count).reshape(shape).astype(bool)
        return cls(cell, labels, layer, other, shows_other)


def labels_of(values: dict[str, Any]) -> tuple[float, NDArray[np.uint8]]:
    """The side of a cell in phone px, and the labels `(R, C)`, of what `Surfaces.to_dict` gave.

    Raises
    ------
    ValueError
        If the values do not fit together.
    """
    try:
        cell, shape = _grid(values["cell"], values["shape"])
        return cell, _bytes(values["labels"], shape)
    except (KeyError, TypeError) as error:
        raise ValueError(f"surfaces without {error}") from None


def _cells(
    points: Points, cell: float, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows `(N,)` of the cells that contain points `(N, 2)`, or the nearest ones."""
    place = np.floor((points + 0.5) / cell).astype(np.int64)
    return np.clip(place[:, 0], 0, shape[1] - 1), np.clip(place[:, 1], 0, shape[0] - 1)


def _units(layer: Layer) -> NDArray[np.int64]:
    return np.rint(layer.displacement * _UNITS).astype(np.int64)


def _packed_steps(units: NDArray[np.int64]) -> str:
    """Differences along a row are small, so they compress well."""
    return _packed(np.diff(units, axis=1, prepend=0).astype("<i4"))


def _steps(text: str, shape: tuple[int, int]) -> NDArray[np.int64]:
    steps = np.frombuffer(_unpacked(text, shape[0] * shape[1] * 2 * 4), "<i4")
    return np.cumsum(steps.reshape(*shape, 2), axis=1, dtype=np.int64)


def _bytes(text: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    return np.frombuffer(_unpacked(text, shape[0] * shape[1]), np.uint8).reshape(shape)


def _grid(cell: Any, shape: Any) -> tuple[float, tuple[int, int]]:
    rows, columns = map(operator.index, shape)
    side = float(cell)
    if not (0 < rows <= _MAX_CELLS and 0 < columns <= _MAX_CELLS and 0 < side < np.inf):
        raise ValueError(f"surfaces of {rows} x {columns} cells of {side} px")
    return side, (rows, columns)


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode("ascii")


def _unpacked(text: str, size: int) -> bytes:
    """Exactly `size` bytes; never more, since the file may be malicious."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(base64.b64decode(text, validate=True), size)
    except (zlib.error, binascii.Error, TypeError) as error:
        raise ValueError(str(error)) from None
    if len(content) != size or unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError(f"surfaces of another size than {size} bytes")
    return content
