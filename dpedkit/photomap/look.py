"""What a thumbnail shows of a photo: numbers for the whole of it, and a grid of its luminance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
BINS = 8  # of the histogram of each channel
COARSE = (4, 3)  # width and height of the coarsest view of the photo: sky above, ground below
GRID = 32  # cells along the longer side
DARKEST = 1 / 255  # below the logarithms of a black photo

DESCRIPTION = 4 + len(PERCENTILES) + 3 * BINS + COARSE[0] * COARSE[1]
"""Length of a description."""

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Look:
    """What a photo map goes by.

    Attributes
    ----------
    description : (47,) float64
        Of the whole photo: logarithms of its mean and of the ratios R / G and B / G, standard
        deviation and percentiles of its luminance, the square roots of a histogram of each
        channel, and the luminance of 4 x 3 areas.
    luminance : (gh, gw) float64
        The means of cells that divide the photo, 32 along the longer side, in [0, 1].
    proportions : tuple of float
        Width and height of the photo in units of the longer side.
    """

    description: NDArray[np.float64]
    luminance: NDArray[np.float64]
    proportions: tuple[float, float]

    def place_x(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns, as parts of the width, from the centre and in units of the longer side."""
        return (x - 0.5) * self.proportions[0]

    def place_y(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows, as parts of the height, likewise."""
        return (y - 0.5) * self.proportions[1]


def describe(thumbnail: NDArray[np.uint8]) -> Look:
    """Look at a photo.

    Parameters
    ----------
    thumbnail : (h, w, 3) uint8
        The whole photo, from `dpedkit.images.make_thumbnail`.

    Returns
    -------
    Look
    """
    height, width = thumbnail.shape[:2]
    longest = max(width, height)
    pixels = thumbnail.reshape(-1, 3) / 255
    luminance = (thumbnail / 255) @ LUMA
    red, green, blue = np.maximum(pixels.mean(axis=0), DARKEST)
    histograms = [np.histogram(channel, BINS, (0, 1))[0] for channel in pixels.T]
    description = np.concatenate(
        [
            [np.log((red + green + blue) / 3), np.log(red / green), np.log(blue / green)],
            [luminance.std()],
            np.percentile(luminance, PERCENTILES),
            np.sqrt(np.concatenate(histograms) / len(pixels)),
            _means_of_cells(luminance, *COARSE).ravel(),
        ]
    )
    grid = _means_of_cells(
        luminance, *(max(1, round(GRID * side / longest)) for side in (width, height))
    )
    return Look(description, grid, (width / longest, height / longest))


def _means_of_cells(values: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """The means of `values` (h, w) over width x height equal cells: (height, width)."""
    down = _shares(values.shape[0], height)
    across = _shares(values.shape[1], width)
    return down @ values @ across.T


def _shares(pixels: int, cells: int) -> NDArray[np.float64]:
    """(cells, pixels): which part of a cell each pixel covers, also where it covers two cells."""
    edges = np.linspace(0, pixels, cells + 1)
    starts = np.arange(pixels)
    covered = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.maximum(covered, 0) * cells / pixels
