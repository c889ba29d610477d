"""How far each block of the phone photo still is from its place in the warped DSLR photo.

Lucas and Kanade's equations (IJCAI 1981) are summed over blocks of pixels instead of windows
round chosen points: no pixel with texture is left out, and each block states not only its shift
but how precisely it is known in each direction (an edge says nothing along itself).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

_WINDOW = 17  # px of the local normalisation
_FLAT = 0.1  # of the rms local contrast: below it a place counts as flat and is not amplified
CELL = 8  # px
_AROUND = 2  # cells at the frame that normalisation and gradients cannot see whole
_STRIP = 8  # rows of cells at a time


@dataclass(frozen=True)
class Blocks:
    """Measured shifts of N blocks.

    Attributes
    ----------
    points : (N, 2) array
        Block centres in px of the image.
    shift : (N, 2) array
        By how much the warped image's content must move to fit, in px: the warped image at
        `points + shift` looks like the phone image at `points`.
    information : (N, 2, 2) array
        Inverse covariance of the shift for independent noise, in px^-2.
    ncc : (N,) array
        Normalised cross-correlation of the two locally normalised blocks, as they lie.
    contrast : (N, 2) array
        In the phone image and in the warped one: from 0 for a flat block to 1 for strong detail.
    """

    points: NDArray[np.float64]
    shift: NDArray[np.float64]
    information: NDArray[np.float64]
    ncc: NDArray[np.float64]
    contrast: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.points)

    def where(self, kept: NDArray[np.bool_]) -> Self:
        """The blocks that `kept` `(N,)` names."""
        return type(self)(
            self.points[kept],
            self.shift[kept],
            self.information[kept],
            self.ncc[kept],
            self.contrast[kept],
        )

    def sigma(self) -> NDArray[np.float64]:
        """(N,) standard deviation of the shift in its worst direction, independent noise, px."""
        a, b, c = (self.information[:, row, column] for row, column in ((0, 0), (0, 1), (1, 1)))
        weakest = (a + c) / 2 - np.sqrt(((a - c) / 2) ** 2 + b**2)
        return 1 / np.sqrt(np.maximum(weakest, 1e-12))


@dataclass(frozen=True)
class Cells:
    """What the two images show together, summed over cells of 8 px.

    Blocks of any size that is a multiple of a cell's are measured from one set of cells.

    Attributes
    ----------
    means : (8, R, C) float32 array
        Of the products of gradients (xx, xy, yy), of gradients and difference (x, y), and of the
        images (phone phone, warped warped, phone warped).
    covered : (R, C) bool array
        Whether both photos show the cell and its surroundings, as far as filters look.
    """

    means: NDArray[np.float32]
    covered: NDArray[np.bool_]


def normalise(image: NDArray[np.float32], shrunk: float = 1.0) -> NDArray[np.float32]:
    """Subtract the local mean and divide by the local deviation.

    Exposure, vignetting and tone curves drop out; detail stays.

    Parameters
    ----------
    image : (H, W) float32 array
    shrunk : float
        How many times smaller the image shows things than the one it is compared with; the
        surroundings that count as local are smaller, too.
    """
    image = image - np.float32(image.mean())  # keeps the variance below exact in float32
    # Mean and variance change slowly: they are summed up over squares of a quarter of the window.
    square = max(1, round(_WINDOW / shrunk / 4))
    size = image.shape[::-1]
    fewer = (max(1, round(size[0] / square)), max(1, round(size[1] / square)))
    taps = _box(_WINDOW / shrunk / square)

    def local_mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        means = cv2.resize(values, fewer, interpolation=cv2.INTER_AREA)
        return cv2.sepFilter2D(means, -1, taps, taps)

    mean = local_mean(image)
    variance = np.maximum(local_mean(image * image) - mean * mean, 0)
    variance += np.float32(_FLAT**2 * float(variance.mean()) + 1e-3)
    gain = 1 / np.sqrt(variance)
    image *= cv2.resize(gain, size, interpolation=cv2.INTER_LINEAR)
    image -= cv2.resize(mean * gain, size, interpolation=cv2.INTER_LINEAR)
    return image


def _box(width: float) -> NDArray[np.float32]:
    """Taps of the mean over `width` px, at least 1, centred on a pixel: the outermost count in
    part."""
    whole = int((width - 1) // 2)
    ends = (width - 1) / 2 - whole
    taps = np.array([ends, *[1.0] * (2 * whole + 1), ends], np.float32)
    return taps / taps.sum()


def observe(
    phone: NDArray[np.float32],
    warped_rows: Callable[[int, int], NDArray[np.float32]],
    shown: NDArray[np.bool_],
    every: int = 1,
) -> Cells:
    """Sum up two locally normalised images of the same size, cell by cell.

    Parameters
    ----------
    phone : (H, W) float32 array
    warped_rows : callable
        The rows of the warped image from a first up to a last; few at a time stay in the
        processor's cache.
    shown : (R, C) bool array
        Which cells the warped image shows.
    every : int
        Look at every second, third, ... strip of 64 rows alone; the others count as not shown.
    """
    height, width = phone.shape
    rows, columns = height // CELL, width // CELL
    means = np.zeros((8, rows, columns), np.float32)
    seen = np.zeros((rows, 1), bool)
    for first in range(0, rows, every * _STRIP):
        last = min(rows, first + _STRIP)
        # Gradients look one row further up and down, where there is one.
        top, bottom = max(0, first * CELL - CELL), min(height, last * CELL + 1)
        inner = slice(first * CELL - top, last * CELL - top)
        ours, theirs = phone[top:bottom], warped_rows(top, bottom)
        # The gradient of the mean of both images is unbiased to second order in the shift
        # (Benhimane and Malis, IROS 2004).
        both = ours + theirs
        dx = cv2.Sobel(both, cv2.CV_32F, 1, 0, ksize=1, scale=0.25)[inner]
        dy = cv2.Sobel(both, cv2.CV_32F, 0, 1, ksize=1, scale=0.25)[inner]
        ours, theirs = ours[inner], theirs[inner]
        difference = ours - theirs
        factors = (
            (dx, dx),
            (dx, dy),
            (dy, dy),
            (dx, difference),
            (dy, difference),
            (ours, ours),
            (theirs, theirs),
            (ours, theirs),
        )
        for mean, (one, other) in zip(means, factors, strict=True):
            product = (one * other)[:, : columns * CELL]
            size = (columns, last - first)
            mean[first:last] = cv2.resize(product, size, interpolation=cv2.INTER_AREA)
        seen[first:last] = True
    around = np.ones((2 * _AROUND + 1,) * 2, np.uint8)
    covered = cv2.erode(
        shown[:rows, :columns].astype(np.uint8),
        around,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return Cells(means, covered.astype(bool) & seen)


def measure(cells: Cells, block: int) -> Blocks:
    """Measure all whole blocks that both photos show.

    Parameters
    ----------
    cells : Cells
    block : int
        Side of a block in px, a multiple of a cell's.
    """
    side = block // CELL
    rows, columns = (count // side for count in cells.covered.shape)
    whole = np.s_[..., : rows * side, : columns * side]
    split = (rows, side, columns, side)
    covered = cells.covered[whole].reshape(split).all(axis=(1, 3))
    # Summing slices is several times as fast as NumPy's mean over two short axes.
    parts = cells.means[whole].astype(np.float64).reshape(8, *split)
    means = np.zeros((8, rows, columns))
    for row, column in np.ndindex(side, side):
        means += parts[:, :, row, :, column]
    xx, xy, yy, x, y, phone_power, warped_power, product = means[:, covered] / side**2
    ncc = product / np.maximum(np.sqrt(phone_power * warped_power), 1e-9)
    noise = phone_power + warped_power - 2 * product

    tensor = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
    ridge = 1e-3 * (xx + yy) + 1e-9
    determinant = (xx + ridge) * (yy + ridge) - xy * xy
    shift = np.stack(
        [((yy + ridge) * x - xy * y) / determinant, ((xx + ridge) * y - xy * x) / determinant],
        axis=1,
    )
    information = tensor * (block**2 / np.maximum(noise, 1e-6))[:, None, None]
    down, across = np.nonzero(covered)
    points = np.stack([across, down], axis=1).astype(np.float64) * block + (block - 1) / 2
    contrast = np.stack([phone_power, warped_power], axis=1)
    return Blocks(points, shift, information, ncc, contrast)
