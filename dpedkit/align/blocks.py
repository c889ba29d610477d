"""How far each block of the phone photo still is from its place in the warped DSLR photo.

Lucas and Kanade's equations (IJCAI 1981) are summed over blocks of pixels instead of windows
round chosen points: no pixel with texture is left out, and each block states not only its shift
but how precisely it is known in each direction (an edge says nothing along itself).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_WINDOW = 17  # px of the local normalisation
_FLAT = 0.1  # of the rms local contrast: below it a place counts as flat and is not amplified
MARGIN = _WINDOW // 2 + 2  # px at the frame that normalisation and gradients cannot see whole


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

    def sigma(self) -> NDArray[np.float64]:
        """(N,) standard deviation of the shift in its worst direction, independent noise, px."""
        a, b, c = (self.information[:, row, column] for row, column in ((0, 0), (0, 1), (1, 1)))
        weakest = (a + c) / 2 - np.sqrt(((a - c) / 2) ** 2 + b**2)
        return 1 / np.sqrt(np.maximum(weakest, 1e-12))


def normalise(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the local mean and divide by the local deviation.

    Exposure, vignetting and tone curves drop out; detail stays.
    """
    image = image - np.float32(image.mean())  # keeps the variance below exact in float32
    window = (_WINDOW, _WINDOW)
    mean = cv2.blur(image, window)
    variance = np.maximum(cv2.blur(image * image, window) - mean * mean, 0)
    floor = _FLAT**2 * float(variance.mean()) + 1e-3
    return (image - mean) / np.sqrt(variance + np.float32(floor))


def measure(phone: NDArray[np.float32], warped: NDArray[np.float32], block: int) -> Blocks:
    """Measure all whole blocks of two locally normalised images of the same size.

    Parameters
    ----------
    phone, warped : (H, W) float32 array
    block : int
        Side of a block in px.
    """
    rows, columns = phone.shape[0] // block, phone.shape[1] // block
    phone = phone[: rows * block, : columns * block]
    warped = warped[: rows * block, : columns * block]

    def mean(image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Block means, `(rows * columns,)`."""
        means = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        return means.ravel().astype(np.float64)

    # The gradient of the mean of both images is unbiased to second order in the shift
    # (Benhimane and Malis, IROS 2004).
    both = phone + warped
    dx = cv2.Sobel(both, cv2.CV_32F, 1, 0, ksize=1, scale=0.25)
    dy = cv2.Sobel(both, cv2.CV_32F, 0, 1, ksize=1, scale=0.25)
    difference = phone - warped
    xx, xy, yy = mean(dx * dx), mean(dx * dy), mean(dy * dy)
    x, y = mean(dx * difference), mean(dy * difference)
    noise = mean(difference * difference)
    phone_power, warped_power = mean(phone * phone), mean(warped * warped)
    ncc = mean(phone * warped) / np.maximum(np.sqrt(phone_power * warped_power), 1e-9)

    tensor = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
    ridge = 1e-3 * (xx + yy) + 1e-9
    determinant = (xx + ridge) * (yy + ridge) - xy * xy
    shift = np.stack(
        [((yy + ridge) * x - xy * y) / determinant, ((xx + ridge) * y - xy * x) / determinant],
        axis=1,
    )
    information = tensor * (block**2 / np.maximum(noise, 1e-6))[:, None, None]
    column, row = np.meshgrid(np.arange(columns), np.arange(rows))
    points = np.stack([column.ravel(), row.ravel()], axis=1) * float(block) + (block - 1) / 2
    contrast = np.stack([phone_power, warped_power], axis=1)
    return Blocks(points, shift, information, ncc, contrast)


def select(blocks: Blocks, kept: NDArray[np.bool_]) -> Blocks:
    """The blocks where `kept`."""
    return Blocks(
        blocks.points[kept],
        blocks.shift[kept],
        blocks.information[kept],
        blocks.ncc[kept],
        blocks.contrast[kept],
    )
