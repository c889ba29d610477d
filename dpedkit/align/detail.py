"""The evidence of each cell of the phone photo under a map: whether it has detail, its residual
shift, and whether the DSLR photo shows the same.

Whether a cell has detail is decided from the photos alone, never from how well they match, so cells
that a wrong map matches badly count against that map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks, Cells, measure
from dpedkit.align.refine import NOISE_FACTOR, Level
from dpedkit.align.smoothing import Displacements, Information, chi2, with_model_error
from dpedkit.geometry import PairMap, Points, grid_points, resize_points

SIDE = 16  # px of the working image; twice the side of the cells in `blocks`
_TEXTURE = 0.003  # minimum gradient power in the weaker direction, locally normalised photos
_EDGE = 0.01  # minimum gradient power in the stronger direction, of a cell with just an edge
_NCC = 0.6  # of a cell that matches by itself; unrelated cells stay below 0.4
_NCC_SUPPORTED = 0.35  # of a cell supported by its neighbours on the same surface
_NCC_AROUND = 0.5
_UNLIKE, _UNLIKE_AROUND = 0.25, 0.3  # NCC below which a cell does not match
_SHIFT = 1.0  # px of the working image: a cell with a larger shift is out of place
_CHI2 = 9.0  # unless noise explains it: 1% level of a chi-square with two degrees of freedom
_MODEL_ERROR = 0.15  # px of the working image
_PART_CONTRAST, _PART_NCC = 0.25, 0.2  # of a quarter of a cell that does not match


@dataclass(frozen=True)
class Grid:
    """Square cells of 16 px over the phone photo at one working size; the last ones may overhang.

    Attributes
    ----------
    level : Level
    centres : (R, C, 2) array
        In px of the working image.
    textured : (R, C) bool array
        Whether the phone photo has detail in two directions.
    edgy : (R, C) bool array
        Whether it has detail in one direction only: an edge, which does not constrain the shift
        along itself.
    """

    level: Level
    centres: Displacements
    textured: NDArray[np.bool_]
    edgy: NDArray[np.bool_]
    _dslr_weaker: NDArray[np.float64]
    _dslr_stronger: NDArray[np.float64]

    @classmethod
    def over(cls, level: Level) -> Self:
        """The cells of a level."""
        height, width = level.phone.shape
        rows, columns = -(-height // SIDE), -(-width // SIDE)
        xs, ys = (np.arange(count) * SIDE + (SIDE - 1) / 2 for count in (columns, rows))
        centres = grid_points(xs, ys).reshape(rows, columns, 2)
        weaker, stronger = _gradient_powers(level.phone)
        textured = weaker > _TEXTURE
        return cls(
            level, centres, textured, ~textured & (stronger > _EDGE), *_gradient_powers(level.dslr)
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.textured.shape[0], self.textured.shape[1]

    @property
    def cell(self) -> float:
        """Side of a cell in px of the full-size phone photo."""
        return SIDE * self.level.working_px

    def dslr_detail(self, current: PairMap) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether the DSLR photo has detail where a map puts each cell: `(R, C)`, in two
        directions and in at least one."""
        level = self.level
        size = (level.dslr.shape[1], level.dslr.shape[0])
        there = current(self.phone_points(self.centres))
        place = np.floor(resize_points(there, level.dslr_shows, size) / SIDE + 0.5 / SIDE)
        rows, columns = self._dslr_weaker.shape
        column, row = np.clip(place, 0, [columns - 1, rows - 1]).astype(int).T
        weaker, stronger = (
            power[row, column].reshape(self.shape)
            for power in (self._dslr_weaker, self._dslr_stronger)
        )
        return weaker > _TEXTURE, stronger > _EDGE

    def phone_points(self, points: Displacements) -> Points:
        """Points `(..., 2)` of the working image as `(N, 2)` points in full-size phone px."""
        size = (self.level.phone.shape[1], self.level.phone.shape[0])
        return resize_points(points.reshape(-1, 2), size, self.level.phone_shows)


@dataclass(frozen=True)
class View:
    """The evidence of the cells under a map, each array `(R, C, ...)`.

    Attributes
    ----------
    shift : (R, C, 2) array
        Residual shift of the DSLR photo, px of the working image.
    information : (R, C, 3) array
        Inverse covariance of the shift: xx, xy, yy, px^-2.
    ncc : (R, C) array
        Of the two locally normalised photos at zero shift.
    textured : (R, C) bool array
        Both photos have detail in two directions.
    edgy : (R, C) bool array
        Both have detail, but not both in two directions.
    """

    shift: Displacements
    information: Information
    ncc: NDArray[np.float64]
    textured: NDArray[np.bool_]
    edgy: NDArray[np.bool_]
    _powers: NDArray[np.float64]
    _clashing: NDArray[np.bool_]

    @classmethod
    def of(cls, cells: Cells, grid: Grid, current: PairMap) -> Self:
        """From the second moments observed at the grid's level under a map."""
        shape = grid.shape
        blocks = measure(cells, SIDE)
        information = blocks.information / NOISE_FACTOR
        information = information.reshape(-1, 4)[:, [0, 1, 3]]
        seen = placed(np.ones(len(blocks)), blocks, SIDE, shape) > 0
        powers = placed(blocks.contrast, blocks, SIDE, shape)
        textured_there, detailed_there = grid.dslr_detail(current)
        textured = grid.textured & textured_there & seen
        edgy = (grid.textured | grid.edgy) & detailed_there & seen & ~textured
        clashes = np.zeros((2 * shape[0], 2 * shape[1]), bool)
        rows, columns = cells.covered.shape
        phone, warped, product = cells.means[-3:]
        clashes[:rows, :columns] = (
            cells.covered
            & (np.minimum(phone, warped) > _PART_CONTRAST)
            & (product < _PART_NCC * np.sqrt(phone * warped))
        )
        return cls(
            placed(blocks.shift, blocks, SIDE, shape),
            placed(information, blocks, SIDE, shape),
            placed(blocks.ncc, blocks, SIDE, shape),
            textured,
            edgy,
            powers,
            np.asarray(clashes.reshape(shape[0], 2, shape[1], 2).any(axis=(1, 3))),
        )

    @property
    def detailed(self) -> NDArray[np.bool_]:
        """(R, C) whether both photos have detail in at least one direction."""
        return self.textured | self.edgy

    def in_place(self, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which cells with detail `(R, C)` are in place, given the surface of each cell."""
        alike = self.ncc > _NCC
        alike |= (self.ncc > _NCC_SUPPORTED) & (self._ncc_around(labels) > _NCC_AROUND)
        return self.detailed & alike & ~self._clashing & ~self._moved()

    def contradicting(self, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which cells with detail `(R, C)` do not match, or are out of place.

        The remaining cells that are not in place are inconclusive because of noise or blur.
        """
        unlike = (self.ncc < _UNLIKE) | (self._ncc_around(labels) < _UNLIKE_AROUND)
        return self.detailed & (unlike | self._clashing | self._moved())

    def _moved(self) -> NDArray[np.bool_]:
        """Where the residual shift is significantly too large."""
        length = np.linalg.norm(self.shift, axis=2)
        information = with_model_error(self.information, _MODEL_ERROR)
        return (length > _SHIFT) & (chi2(self.shift, information) > _CHI2)

    def _ncc_around(self, labels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """NCC over each cell and those of its 8 neighbours that are on the same surface."""
        product = self.ncc * np.sqrt(self._powers.prod(axis=2))
        planes = np.concatenate([self._powers, product[..., None]], axis=2)
        padded = np.pad(planes, [(1, 1), (1, 1), (0, 0)])
        around = np.pad(labels.astype(np.int16), 1, constant_values=-1)
        rows, columns = labels.shape
        total = np.zeros_like(planes)
        for down, right in np.ndindex(3, 3):
            part = np.s_[down : down + rows, right : right + columns]
            total += (around[part] == labels)[..., None] * padded[part]
        return total[..., 2] / np.maximum(np.sqrt(total[..., 0] * total[..., 1]), 1e-9)


def in_place_at(level: Level, cells: Cells, current: PairMap) -> float:
    """Share of the detail that is in place at a working size, under the map that the cells were
    observed under."""
    grid = Grid.over(level)
    view = View.of(cells, grid, current)
    found = view.in_place(np.ones(grid.shape, np.uint8)) & view.textured
    return float(found.sum() / max(1, view.textured.sum()))


def _gradient_powers(
    image: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(R, C) eigenvalues of the mean structure tensor of each cell, the smaller and the larger.

    Computed on the image at half size, where pixel noise is averaged out.
    """
    rows, columns = (-(-side // SIDE) for side in image.shape)
    half = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), None, 0, 0, cv2.INTER_AREA)
    down, right = rows * SIDE // 2 - half.shape[0], columns * SIDE // 2 - half.shape[1]
    half = cv2.copyMakeBorder(half, 0, down, 0, right, cv2.BORDER_REPLICATE)
    dx = cv2.Sobel(half, cv2.CV_32F, 1, 0, ksize=1, scale=0.25)  # per px of the image, not of half
    dy = cv2.Sobel(half, cv2.CV_32F, 0, 1, ksize=1, scale=0.25)
    xx, xy, yy = (
        cv2.resize(product, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float64)
        for product in (dx * dx, dx * dy, dy * dy)
    )
    mean, spread = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    return mean - spread, mean + spread


def cell_means(
    plane: NDArray[np.float32], shape: tuple[int, int], parts: int = 1
) -> NDArray[np.float64]:
    """Means of an image `(H, W)` over cells: `(parts R, parts C)`, each cell cut into `parts` along
    each side. Beyond the image its border is repeated."""
    rows, columns = shape
    down, right = rows * SIDE - plane.shape[0], columns * SIDE - plane.shape[1]
    whole = cv2.copyMakeBorder(plane, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = (parts * columns, parts * rows)
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float64)


def placed(
    values: NDArray[np.float64], blocks: Blocks, side: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Values `(N, ...)` of blocks as a grid `(R, C, ...)`; 0 where there is no block."""
    result = np.zeros((*shape, *values.shape[1:]))
    column, row = np.floor(blocks.points / side).astype(int).T
    result[row, column] = values
    return result
