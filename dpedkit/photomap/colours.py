"""The colours of one photo by its map, row by row and without PyTorch.

A network spends most of its colour map on moving the 43 terms of every pixel through memory. Here
the photo and the row are known: its scores are part of the coefficients, y is a number, and the 39
terms that are left of a row stay in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dpedkit.colourmap import EXPONENTS
from dpedkit.photomap.guides import PhotoGuide, neighbours
from dpedkit.photomap.look import Look
from dpedkit.photomap.map import LINEAR, QUADRATIC, TERMS, PhotoMap

_MONOMIALS = len(EXPONENTS)
_OF_PLACE = QUADRATIC + 1 + 2 * LINEAR  # terms with the luminance around a pixel, and with x
_LEVEL = np.float32(1 / 255)


@dataclass(frozen=True)
class PhotoColours:
    """A photo map with everything of one photo in it.

    Each row is computed by itself: the result is the same, to the last bit, whichever rows are
    asked for together.

    Attributes
    ----------
    coefficients : (43, 3) float64
        Of the terms of `dpedkit.photomap.map.terms`, the photo's scores included.
    size : tuple of int
        Width and height of the photo, px.
    look : Look or None
        Of the photo; None where the map is the same in every place.
    """

    coefficients: NDArray[np.float64]
    size: tuple[int, int]
    look: Look | None = None

    @classmethod
    def of(cls, photo_map: PhotoMap, guide: PhotoGuide, size: tuple[int, int]) -> PhotoColours:
        """Those of a photo of this width and height, by what `PhotoGuide.of` saw in it."""
        coefficients = photo_map.coefficients_of(guide.scores)
        if not coefficients[_MONOMIALS:].any():
            return cls(coefficients, size)
        return cls(coefficients, size, guide.look)

    @classmethod
    def of_polynomial(cls, polynomial: NDArray[np.float64], size: tuple[int, int]) -> PhotoColours:
        """Those by the coefficients (20, 3) of a `ColourMap`."""
        return cls(PhotoMap.of_every_photo(polynomial).coefficients, size)

    def map_rows(
        self, photo: NDArray[np.float32], top: int, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Map the colours of some rows.

        Parameters
        ----------
        photo : (3, n, W) float32
            R, G and B in [0, 1] of the rows from `top` on.
        top : int
        out : (3, n, W) float32, optional
            Where to write the result.

        Returns
        -------
        (3, n, W) float32
            In about [0, 1], not clipped.
        """
        out = np.empty(photo.shape, np.float32) if out is None else out
        terms = self._empty_terms()
        for row in range(photo.shape[1]):
            terms[1:LINEAR] = photo[:, row]
            out[:, row] = self._row(terms, top + row)
        return out

    def map_levels(
        self, levels: NDArray[np.uint8], top: int, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Map the colours of some rows to levels.

        Parameters
        ----------
        levels : (n, W, 3) uint8
            The rows of the photo from `top` on.
        top : int
        out : (n, W, 3) uint8, optional
            Where to write the result.

        Returns
        -------
        (n, W, 3) uint8
            Rounded and clipped.
        """
        import cv2

        out = np.empty_like(levels) if out is None else out
        terms = self._empty_terms()
        for row, pixels in enumerate(levels):
            np.multiply(pixels.T, _LEVEL, out=terms[1:LINEAR])
            mapped = self._row(terms, top + row)
            # Saturating: it rounds and clips in one pass.
            planes = cv2.multiply(mapped, (255.0, 0, 0, 0), dtype=cv2.CV_8U)
            out[row] = planes.T
        return out

    def _empty_terms(self) -> NDArray[np.float32]:
        terms = np.empty((self._base.shape[1], self.size[0]), np.float32)
        terms[0] = 1
        return terms

    def _row(self, terms: NDArray[np.float32], row: int) -> NDArray[np.float32]:
        """The mapped colours (3, W) of a row whose R, G and B are terms 1 to 3."""
        (red, green, blue), squares = terms[1:LINEAR], terms[LINEAR:QUADRATIC]
        np.multiply(terms[1:LINEAR], red, out=squares[:3])
        np.multiply(terms[2:LINEAR], green, out=squares[3:5])
        np.multiply(blue, blue, out=squares[5])
        cubes = terms[QUADRATIC:_MONOMIALS]
        np.multiply(squares, red, out=cubes[:6])
        np.multiply(squares[3:], green, out=cubes[6:9])
        np.multiply(squares[5], blue, out=cubes[9])
        if self.look is None:
            return self._base @ terms
        luminance = terms[_MONOMIALS + QUADRATIC]
        y = self._luminance_around(row, out=luminance)
        np.multiply(terms[:QUADRATIC], luminance, out=terms[_MONOMIALS : _MONOMIALS + QUADRATIC])
        np.multiply(luminance, luminance, out=luminance)
        with_x = terms[_MONOMIALS + QUADRATIC + 1 :]
        for part, x in zip((with_x[:LINEAR], with_x[LINEAR:]), self._powers_of_x, strict=True):
            np.multiply(terms[:LINEAR], x, out=part)
        coefficients = self._base.copy()
        coefficients[:, :LINEAR] += self._slopes[0] * y + self._slopes[1] * (y * y)
        return coefficients @ terms

    @cached_property
    def _base(self) -> NDArray[np.float32]:
        """Coefficients of the terms of a row in the middle of the photo: (3, 20 or 39)."""
        if self.look is None:
            return np.ascontiguousarray(self.coefficients[:_MONOMIALS].T, np.float32)
        powers, across, _, squared, around = np.split(
            self.coefficients, _MONOMIALS + LINEAR * np.arange(4)
        )
        return np.ascontiguousarray(np.concatenate([powers, around, across, squared]).T, np.float32)

    @cached_property
    def _slopes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What y and its square add to the coefficients of the linear terms: (3, 4) each."""
        start = _MONOMIALS + LINEAR
        down, squared = self.coefficients[start : start + 2 * LINEAR].reshape(2, LINEAR, 3)
        return down.T.astype(np.float32), squared.T.astype(np.float32)

    @cached_property
    def _powers_of_x(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """x and its square: (W,) each."""
        assert self.look is not None
        x = self.look.place_x((np.arange(self.size[0]) + 0.5) / self.size[0])
        return x.astype(np.float32), (x * x).astype(np.float32)

    @cached_property
    def _rows_of_cells(self) -> NDArray[np.float32]:
        """The grid of luminance, interpolated across but not down: (gh, W)."""
        assert self.look is not None
        grid, width = self.look.luminance, self.size[0]
        lower, upper, share = neighbours((np.arange(width) + 0.5) / width, grid.shape[1])
        return (grid[:, lower] * (1 - share) + grid[:, upper] * share).astype(np.float32)

    def _luminance_around(self, row: int, out: NDArray[np.float32]) -> np.float32:
        """Write the luminance around the pixels of a row, (W,), and return the row's y."""
        assert self.look is not None
        y = np.array([(row + 0.5) / self.size[1]])
        cells = self._rows_of_cells
        lower, upper, share = (values[0] for values in neighbours(y, len(cells)))
        np.subtract(cells[upper], cells[lower], out=out)
        out *= np.float32(share)
        out += cells[lower]
        return np.float32(self.look.place_y(y)[0])


assert _MONOMIALS + 3 * LINEAR + QUADRATIC + 1 == TERMS
