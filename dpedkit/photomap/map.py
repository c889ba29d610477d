"""The map: a cubic polynomial of colour that depends on the photo and on the place in it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dpedkit.colourmap import EXPONENTS, monomials
from dpedkit.photomap.look import DESCRIPTION, Look

LINEAR, QUADRATIC = 4, 10  # how many monomials have a degree of at most one, and of two
TERMS = len(EXPONENTS) + 3 * LINEAR + QUADRATIC + 1
RANK = 3  # ways in which the maps of photos differ
PLACE = 3  # planes that say where a pixel is: luminance around it, x, y

UNUSUAL = 3.0  # standard deviations: no photo counts as further from the mean than this


@dataclass(frozen=True)
class PhotoMap:
    """A colour map for every photo.

    The terms of a pixel are the 20 monomials of its colour; its 4 monomials of degree at most one,
    times x, y and x^2 + y^2; its 10 of degree at most two, times the luminance around it; and the
    square of that luminance. x and y are measured from the centre, in units of the longer side.

    Attributes
    ----------
    coefficients : (43, 3) float64
        Of the terms, for a photo with scores of zero.
    directions : (3, 20, 3) float64
        What a score of one adds to the coefficients of the monomials.
    mean, scale : (47,) float64
        Of the descriptions of photos.
    weights : (47, 3) float64
        Scores for each standard deviation by which a description differs from the mean.
    offset : (3,) float64
        Scores of a photo with the mean description.
    """

    coefficients: NDArray[np.float64]
    directions: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of the arrays that a map consists of."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of_every_photo(cls, polynomial: NDArray[np.float64]) -> Self:
        """The same map for every photo and every place, by the coefficients of a `ColourMap`."""
        coefficients = np.zeros((TERMS, 3))
        coefficients[: len(EXPONENTS)] = polynomial
        return cls(
            coefficients,
            np.zeros((RANK, len(EXPONENTS), 3)),
            np.zeros(DESCRIPTION),
            np.ones(DESCRIPTION),
            np.zeros((DESCRIPTION, RANK)),
            np.zeros(RANK),
        )

    def scores(self, look: Look) -> NDArray[np.float64]:
        """How a photo differs from the mean photo: (3,)."""
        standardised = standardise(look.description, self.mean, self.scale)
        return standardised @ self.weights + self.offset

    def coefficients_of(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The coefficients for a photo with these scores: (43, 3)."""
        coefficients = self.coefficients.copy()
        coefficients[: len(EXPONENTS)] += np.tensordot(scores, self.directions, axes=1)
        return coefficients


def standardise(
    description: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """In standard deviations from the mean, (..., 47); of unusual photos at most three."""
    return np.clip((description - mean) / scale, -UNUSUAL, UNUSUAL)


def terms(pixels: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """The terms of pixels.

    Parameters
    ----------
    pixels : (M, 3) float64
        In [0, 1].
    place : (M, 3) float64
        Luminance around each, x and y.

    Returns
    -------
    (M, 43) float64
    """
    powers = monomials(pixels)
    luminance, x, y = place.T[..., None]
    linear = powers[:, :LINEAR]
    return np.concatenate(
        [
            *(powers, linear * x, linear * y, linear * (x * x + y * y)),
            *(powers[:, :QUADRATIC] * luminance, luminance * luminance),
        ],
        axis=1,
    )
