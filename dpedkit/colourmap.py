"""The colour baseline: one cubic polynomial from phone RGB to DSLR RGB, the same for every pixel.

It is the baseline that a network must beat: the best that colour alone can do, from nothing but the
pixel itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError
from dpedkit.shards.sampling import spread_indices

if TYPE_CHECKING:
    from dpedkit.shards.reader import SplitReader

# Exponents (r, g, b) of the 20 monomials up to degree three, constant first.
EXPONENTS = tuple(
    (r, g, total - r - g)
    for total in range(4)
    for r in range(total, -1, -1)
    for g in range(total - r, -1, -1)
)
_RIDGE = 1e-6  # of the mean square of a monomial: decides only what the colours leave undecided
_PIXELS_AT_ONCE = 1 << 16
_PATCHES, _PATCHES_AT_ONCE = 4000, 100  # 40 million pixels settle 60 coefficients

Pixels = NDArray[np.uint8] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ColourMap:
    """A cubic polynomial RGB -> RGB on values in [0, 1].

    Attributes
    ----------
    coefficients : (20, 3) float64 array
        Row k belongs to the monomial `EXPONENTS[k]`.
    """

    coefficients: NDArray[np.float64]

    @classmethod
    def identity(cls) -> Self:
        """The map that leaves every colour as it is."""
        coefficients = np.zeros((len(EXPONENTS), 3))
        for channel in range(3):
            unit = tuple(int(axis == channel) for axis in range(3))
            coefficients[EXPONENTS.index(unit), channel] = 1
        return cls(coefficients)

    def apply(self, pixels: Pixels) -> NDArray[np.float64]:
        """Map colours.

        Parameters
        ----------
        pixels : (..., 3) array
            uint8, or float in [0, 1].

        Returns
        -------
        (..., 3) float64 array
            Not clipped.
        """
        flat = _to_unit(pixels).reshape(-1, 3)
        mapped = np.empty_like(flat)
        for start in range(0, len(flat), _PIXELS_AT_ONCE):
            block = slice(start, start + _PIXELS_AT_ONCE)
            mapped[block] = monomials(flat[block]) @ self.coefficients
        return mapped.reshape(pixels.shape)

    def to_dict(self) -> dict[str, Any]:
        """The map as JSON-ready values."""
        return {
            "exponents": [list(powers) for powers in EXPONENTS],
            "coefficients": self.coefficients.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read a map back from the result of `to_dict`."""
        if [tuple(powers) for powers in values["exponents"]] != list(EXPONENTS):
            raise DpedkitError("This colour map has other monomials than this version of dpedkit.")
        return cls(np.asarray(values["coefficients"], dtype=np.float64))


def fit_colour_map(batches: Iterable[tuple[Pixels, Pixels]]) -> ColourMap:
    """Least-squares fit over all pixels of all batches, in memory that does not grow with them.

    Parameters
    ----------
    batches : iterable of (phone, dslr)
        Arrays `(..., 3)` of the same shape, uint8 or float in [0, 1].

    Returns
    -------
    ColourMap
        Where the phone's colours do not fill the cube, the undecided coefficients stay close to
        those of the identity.

    Raises
    ------
    DpedkitError
        If there are no pixels at all.
    """
    count = 0
    normal = np.zeros((len(EXPONENTS), len(EXPONENTS)))
    moments = np.zeros((len(EXPONENTS), 3))
    for phone, dslr in batches:
        source = _to_unit(phone).reshape(-1, 3)
        target = _to_unit(dslr).reshape(-1, 3)
        for start in range(0, len(source), _PIXELS_AT_ONCE):
            block = slice(start, start + _PIXELS_AT_ONCE)
            terms = monomials(source[block])
            normal += terms.T @ terms
            moments += terms.T @ target[block]
        count += len(source)
    if count == 0:
        raise DpedkitError("There are no pixels to fit the colour map to.")
    ridge = _RIDGE * count * np.eye(len(EXPONENTS))
    start_from = ColourMap.identity().coefficients
    coefficients = np.linalg.solve(normal + ridge, moments + ridge @ start_from)
    return ColourMap(coefficients.astype(np.float64, copy=False))


def fit_colour_map_to(reader: SplitReader) -> ColourMap:
    """Fit to the patches of a split; of a large one, to some thousand spread over it.

    Raises
    ------
    DpedkitError
        If the split is empty.
    """
    chosen = spread_indices(len(reader), _PATCHES) if len(reader) else np.empty(0, np.int64)
    starts = range(0, len(chosen), _PATCHES_AT_ONCE)
    return fit_colour_map(
        reader.gather(chosen[start : start + _PATCHES_AT_ONCE]) for start in starts
    )


def monomials(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 20 products of powers of R, G and B: (M, 3) -> (M, 20)."""
    r, g, b = ([None, x, x * x, x * x * x] for x in pixels.T)
    terms = np.ones((len(EXPONENTS), len(pixels)))
    for term, powers in zip(terms, EXPONENTS, strict=True):
        for channel, power in zip((r, g, b), powers, strict=True):
            if power:
                term *= channel[power]
    return terms.T


def _to_unit(pixels: Pixels) -> NDArray[np.float64]:
    if pixels.dtype == np.uint8:
        return pixels / 255
    return pixels.astype(np.float64, copy=False)
