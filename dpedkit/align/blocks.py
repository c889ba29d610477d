"""The residual shift of each block between the phone photo and the warped DSLR photo.

The Lucas-Kanade equations (IJCAI 1981) are summed over a grid of blocks rather than windows around
selected points. So every textured pixel counts, and each block gives its shift together with the
precision in each direction (an edge has none along itself).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

_WINDOW = 17  # px of the local normalisation
_FLAT = 0.1  # of the RMS local contrast; regions below it count as flat and are not amplified
CELL = 8  # px
_AROUND = 2  # cells at the frame where normalisation and gradients lack support
_STRIP = 8  # rows of cells at a time
# Turn sums over the rows of a cell into means; gradients are a quarter of the differences.
_SCALES = np.array([*[1 / 16] * 3, *[1 / 4] * 2, *[1] * 3], np.float32)[:, None, None] / CELL


@dataclass(frozen=True)
class Blocks:
    """Measured shifts of N blocks.

    Attributes
    ----------
    points : (N, 2) array
        Block centres in px of the image.
    shift : (N, 2) array
        Residual shift in px: the warped image at `points + shift` looks like the phone image at
        `points`.
    information : (N, 2, 2) array
        Inverse covariance of the shift, assuming independent noise, in px^-2.
    ncc : (N,) array
        Normalised cross-correlation of the two locally normalised blocks at zero shift.
    contrast : (N, 2) array
        Of the phone block and the warped block, from 0 (flat) to 1 (strong detail).
    """

    points: NDArray[np.float64]
    shift: NDArray[np.float64]
    information: NDArray[np.float64]
    ncc: NDArray[np.float64]
    contrast: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.points)

    def where(self, kept: NDArray[np.bool_]) -> Self:
        """The blocks selected by the mask `kept` `(N,)`."""
        return type(self)(
            self.points[kept],
            self.shift[kept],
            self.information[kept],
            self.ncc[kept],
            self.contrast[kept],
        )

    def sigma(self) -> NDArray[np.float64]:
        """(N,) standard deviation of the shift in its least certain direction, px."""
        a, b, c = (self.information[:, row, column] for row, column in ((0, 0), (0, 1), (1, 1)))
        weakest = (a + c) / 2 - np.sqrt(((a - c) / 2) ** 2 + b**2)
        return 1 / np.sqrt(np.maximum(weakest, 1e-12))


@dataclass(frozen=True)
class Cells:
    """Second moments of the two images, averaged over cells of 8 px.

    Blocks of any multiple of the cell size can be measured from one set of cells.

    Attributes
    ----------
    means : (8, R, C) float32 array
        Means of the gradient products (xx, xy, yy), of gradient times difference (x, y), and of
        the image products (phone phone, warped warped, phone warped).
    covered : (R, C) bool array
        Whether both photos cover the cell and the support of the filters around it.
    """

    means: NDArray[np.float32]
    covered: NDArray[np.bool_]


def normalise(image: NDArray[np.float32], shrunk: float = 1.0) -> NDArray[np.float32]:
    """Subtract the local mean and divide by the local deviation.

    This removes exposure, vignetting and tone curves, and keeps detail.

    Parameters
    ----------
    image : (H, W) float32 array
    shrunk : float
        How many times smaller the image is than the one it is compared with; the window is
        reduced by this factor.
    """
    image = image - np.float32(image.mean())  # avoids cancellation in the float32 variance below
    # Mean and variance vary slowly, so they are computed on squares of a quarter of the window.
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
    """Taps of a centred mean over `width` px, at least 1; the outermost have partial weight."""
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
    """Average the second moments of two locally normalised images of the same size over cells.

    Parameters
    ----------
    phone : (H, W) float32 array
    warped_rows : callable
        Returns the rows of the warped image from a first one up to a last; a few at a time stay
        in the processor's cache.
    shown : (R, C) bool array
        Which cells the warped image covers.
    every : int
        Use only every n-th strip of 64 rows; the other cells count as not covered.
    """
    height, width = phone.shape
    rows, columns = height // CELL, width // CELL
    means = np.zeros((8, rows, columns), np.float32)
    seen = np.zeros((rows, 1), bool)
    for first in range(0, rows, every * _STRIP):
        last = min(rows, first + _STRIP)
        # Gradients need one more row above and below, where there is one.
        top, bottom = max(0, first * CELL - CELL), min(height, last * CELL + 1)
        inner = slice(first * CELL - top, last * CELL - top)
        means[:, first:last] = _moments(phone[top:bottom], warped_rows(top, bottom), inner)
        seen[first:last] = True
    around = np.ones((2 * _AROUND + 1,) * 2, np.uint8)
    covered = cv2.erode(
        shown[:rows, :columns].astype(np.uint8),
        around,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return Cells(means, covered.astype(bool) & seen)


def _moments(
    phone: NDArray[np.float32], warped: NDArray[np.float32], inner: slice
) -> NDArray[np.float32]:
    """The means of `Cells` over the cells of a strip: (8, rows of cells, columns of cells).

    Parameters
    ----------
    phone, warped : (H, W) float32 array
        The strip, with rows above and below where there are any.
    inner : slice
        The rows of the strip, a multiple of the cell size.
    """
    # The gradient of the mean of both images is unbiased to second order in the shift (Benhimane
    # and Malis, IROS 2004). Differences along x and y are four times that, and zero at the frame.
    both = phone + warped
    dx, dy = np.zeros((2, inner.stop - inner.start, both.shape[1]), np.float32)
    np.subtract(both[inner, 2:], both[inner, :-2], out=dx[:, 1:-1])
    above, below = max(1, inner.start), min(inner.stop, len(both) - 1)
    np.subtract(
        both[above + 1 : below + 1],
        both[above - 1 : below - 1],
        out=dy[above - inner.start : below - inner.start],
    )
    phone, warped = phone[inner], warped[inner]
    columns = both.shape[1] // CELL
    by_cell_rows = (-1, CELL, columns * CELL)
    dx, dy, difference, phone, warped = (
        plane[:, : columns * CELL].reshape(by_cell_rows)
        for plane in (dx, dy, phone - warped, phone, warped)
    )
    factors = (
        (dx, dx),
        (dx, dy),
        (dy, dy),
        (dx, difference),
        (dy, difference),
        (phone, phone),
        (warped, warped),
        (phone, warped),
    )
    # Summing the products down the cells first is faster than averaging them over cells at once.
    sums = np.empty((8, len(dx), columns * CELL), np.float32)
    for total, (one, other) in zip(sums, factors, strict=True):
        np.einsum("rkc,rkc->rc", one, other, out=total)
    means = cv2.resize(
        sums.reshape(-1, columns * CELL), (columns, 8 * len(dx)), interpolation=cv2.INTER_AREA
    ).reshape(8, -1, columns)
    means *= _SCALES
    return means


def measure(cells: Cells, block: int) -> Blocks:
    """Measure the shift of every complete block that both photos cover.

    Parameters
    ----------
    cells : Cells
    block : int
        Side of a block in px, a multiple of the cell size.
    """
    side = block // CELL
    rows, columns = (count // side for count in cells.covered.shape)
    whole = np.s_[..., : rows * side, : columns * side]
    split = (rows, side, columns, side)
    covered = cells.covered[whole].reshape(split).all(axis=(1, 3))
    # Summing slices is several times faster than NumPy's mean over two short axes.
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
