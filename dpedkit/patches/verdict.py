"""Quality of a matched window: clipping, correlation, and local mismatch."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_STRIP = 256  # rows
_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
_WHITE, _BLACK = 250, 5  # in JPEGs, clipped areas are a few levels off 255 and 0
_CELLS = 10  # across the window; blocks are two cells wide, a fifth of the window
_CONTENT_FLOOR = 0.05  # of the window's variance
_RIDGE = 1e-4  # of the window's variance
_TONE_FLOOR = 4.0  # grey levels of difference by lighting, vignetting and rounding in flat windows


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma of `(H, W, 3) uint8` RGB as (H, W) float32 from 0 to 255 (ITU-R BT.601)."""
    result = np.empty(pixels.shape[:2], np.float32)
    for top in range(
        0, len(pixels), _STRIP
    ):  # three float planes of a whole photo need much memory
        strip = pixels[top : top + _STRIP].astype(np.float32)
        # Three times faster than cvtColor.
        cv2.transform(strip, _LUMA, dst=result[top : top + _STRIP])
    return result


def ncc(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Normalised cross-correlation of two arrays of the same shape; 0 if one is constant."""
    a = cv2.subtract(a, cv2.mean(a)[0]).ravel()
    b = cv2.subtract(b, cv2.mean(b)[0]).ravel()
    energy = float(a @ a) * float(b @ b)
    return float(a @ b) / energy**0.5 if energy > 0 else 0.0


def clipped_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8 mask, non-zero where `(H, W, 3) uint8` RGB is clipped to white or black."""
    red, green, blue = cv2.split(image)
    white = cv2.compare(cv2.min(cv2.min(red, green), blue), _WHITE, cv2.CMP_GE)
    black = cv2.compare(cv2.max(cv2.max(red, green), blue), _BLACK, cv2.CMP_LE)
    return cv2.bitwise_or(white, black)


def worst_mismatch(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The largest local difference of two matched windows.

    An object that moved and covers a tenth of a window hardly lowers its NCC. So a cubic tone curve
    is fitted from `a` to `b` over the whole window. Its residual in each of the overlapping blocks
    is divided by the local variance of the image that has less of it.

    Parameters
    ----------
    a, b : (S, S) float32
        Luma of the two windows.

    Returns
    -------
    float
        Largest ratio of the mean squared residual to the local variance. For matched windows it
        is well below 1, whatever their gain, offset and sharpness.
    """
    a, scale_a = _standardised(a)
    b, scale_b = _standardised(b)
    powers = np.empty((4, *a.shape), np.float32)  # 1, a, a^2, a^3
    powers[0], powers[1] = 1, a
    np.multiply(a, a, out=powers[2])
    np.multiply(powers[2], a, out=powers[3])
    residual = b - _tone_curve(powers, b)
    mean_a, square_a, mean_b, square_b, square_residual = _blocks(
        np.concatenate([a, powers[2], b, b * b, residual * residual])
    )
    detail = cv2.min(square_a - mean_a**2, square_b - mean_b**2)
    floor = _CONTENT_FLOOR + (_TONE_FLOOR / min(scale_a, scale_b)) ** 2
    return float((square_residual / (detail.clip(0) + floor)).max())


def _blocks(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over overlapping blocks of 2x2 cells at a stride of one cell.

    Parameters
    ----------
    images : (P * S, S) float32
        Stacked images, reduced in one call.

    Returns
    -------
    (P, 9, 9) float32
    """
    count = len(images) // images.shape[1]
    cells = cv2.resize(images, (_CELLS, _CELLS * count), interpolation=cv2.INTER_AREA)
    cells = cells.reshape(count, _CELLS, _CELLS)
    pairs = cells[:, 1:] + cells[:, :-1]
    return (pairs[:, :, 1:] + pairs[:, :, :-1]) / 4


def _tone_curve(powers: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Least-squares fit of `b` by the first four powers of an image."""
    rows = powers.reshape(4, -1)
    ridge = (
        _RIDGE * b.size * np.eye(4, dtype=np.float32)
    )  # windows with two tones do not determine a cubic
    curve = np.linalg.solve(rows @ rows.T + ridge, rows @ b.ravel())
    return (curve @ rows).reshape(b.shape)


def _standardised(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The image at half size, denoised, with mean 0 and variance 1; its standard deviation."""
    side = len(image) // 2
    half = cv2.resize(image[: 2 * side, : 2 * side], (side, side), interpolation=cv2.INTER_AREA)
    half = cv2.GaussianBlur(half, (5, 5), 0.6)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(half))
    scale = max(deviation, 1e-3)
    return (half - np.float32(mean)) / np.float32(scale), scale
