"""Whether the aligned photos would fit as well when one is moved: repeated texture.

Tiles, bricks, a fence or rows of windows can match one period off, with many inliers. Then the
correlation of the two aligned images has a second peak nearly as high as the one at no shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks

_BLUR = 1.0  # px: detail smaller than this need not come back exactly for a texture to repeat
_NEAR = 6  # px: a shift smaller than this is the same place
_CLEARLY, _SLIGHTLY = 3.0, 0.05  # a block fits clearly worse when 1 - NCC grows by this
_UNIQUE = 3  # blocks that differ by chance: at the edges of moving things, in the sky
_MIN_SHARE = 0.4  # of the overlap must be left after a shift for its correlation to count


@dataclass(frozen=True)
class SecondFit:
    """The best shift of one image besides none.

    Attributes
    ----------
    ratio : float
        Its correlation, relative to that of the images as they lie; near 1 it fits as well.
    shift : tuple of float
        `(x, y)` in px: the warped image, moved by this, fits the phone image.
    """

    ratio: float
    shift: tuple[float, float]


def second_fit(
    phone: NDArray[np.float32], warped: NDArray[np.float32], valid: NDArray[np.bool_]
) -> SecondFit:
    """Search all shifts for the second highest correlation.

    Parameters
    ----------
    phone, warped : (H, W) float32 array
        Locally normalised.
    valid : (H, W) bool array
        Where both show something.
    """
    mask = valid.astype(np.float32)
    first, second = (cv2.GaussianBlur(image, (0, 0), _BLUR) * mask for image in (phone, warped))
    # Far shifts come out folded into near ones, but even together they overlap too little to count.
    # NumPy's transform of single precision, not SciPy's: workers start sooner without its import.
    shape = [cv2.getOptimalDFTSize(int((2 - _MIN_SHARE) * side) + 2) for side in mask.shape]

    def correlate(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(np.fft.irfft2(a * np.conj(b), shape), np.float32)

    images = (first, second, first**2, second**2, mask)
    one, two, one_squared, two_squared, inside = (np.fft.rfft2(image, shape) for image in images)
    overlap = correlate(inside, inside)
    power = correlate(one_squared, inside) * correlate(inside, two_squared)
    ncc = correlate(one, two) / np.sqrt(np.maximum(power, 1e-3))
    here = float(ncc[0, 0])
    ncc[overlap < _MIN_SHARE * mask.sum()] = -1
    y, x = (np.round(np.fft.fftfreq(side, 1 / side)) for side in shape)
    ncc[np.ix_(np.abs(y) < _NEAR, np.abs(x) < _NEAR)] = -1
    row, column = np.unravel_index(ncc.argmax(), ncc.shape)
    return SecondFit(float(ncc.max()) / max(here, 1e-6), (float(x[column]), float(y[row])))


def tells_apart(here: Blocks, there: Blocks) -> bool:
    """Whether some detail fits in the one place and clearly not in the other.

    Parameters
    ----------
    here, there : Blocks
        The phone photo's blocks under the two maps.
    """
    shared = (here.points[:, None, :] == there.points[None, :, :]).all(axis=2)
    own, other = np.nonzero(shared)
    lost_here, lost_there = 1 - here.ncc[own], 1 - there.ncc[other]
    better = int((lost_there > _CLEARLY * lost_here + _SLIGHTLY).sum())
    worse = int((lost_here > _CLEARLY * lost_there + _SLIGHTLY).sum())
    return better > worse + _UNIQUE
