"""Is a matched window fit to learn from? Clipping, correlation, and places that differ."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_STRIP = 256  # rows
_WHITE, _BLACK = 250, 5  # JPEG puts clipped areas a few levels off 255 and 0
_CELLS = 10  # across the window; blocks are two cells wide, a fifth of the window
_CONTENT_FLOOR = 0.05  # of the window's variance
_RIDGE = 1e-4  # of the window's variance
_TONE_FLOOR = 4.0  # grey levels; in plain windows light, vignetting and rounding differ by this


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma of `(H, W, 3) uint8` RGB as (H, W) float32 from 0 to 255 (ITU-R BT.601)."""
    result = np.empty(pixels.shape[:2], np.float32)
    for top in range(0, len(pixels), _STRIP):  # three floats a pixel of a whole photo are many
        strip = pixels[top : top + _STRIP].astype(np.float32)
        cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY, dst=result[top : top + _STRIP])
    return result


def ncc(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Normalised cross-correlation of two arrays of one shape; 0 where one is constant."""
    a = cv2.subtract(a, cv2.mean(a)[0]).ravel()
    b = cv2.subtract(b, cv2.mean(b)[0]).ravel()
    energy = float(a @ a) * float(b @ b)
    return float(a @ b) / energy**0.5 if energy > 0 else 0.0


def clipped_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8, not zero where a pixel of `(H, W, 3) uint8` RGB is pure white or black."""
    white = cv2.inRange(image, (_WHITE, _WHITE, _WHITE), (255, 255, 255))
    black = cv2.inRange(image, (0, 0, 0), (_BLACK, _BLACK, _BLACK))
    return cv2.bitwise_or(white, black)


def worst_mismatch(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """How much two matched windows differ in the place where they differ most.

    A pasted or moved thing that covers a tenth of a window hardly lowers its NCC. So one tone
    curve for the whole window (a cubic) turns `a` into `b`, and what it leaves in each of the
    overlapping blocks is divided by the detail there, that of the plainer of the two images.

    Parameters
    ----------
    a, b : (S, S) float32
        Luma of the two windows.

    Returns
    -------
    float
        Largest ratio of the residual's mean square to the detail's variance. Matched windows
        stay well below 1, whatever their gain, offset and sharpness.
    """
    a, scale_a = _standardised(a)
    b, scale_b = _standardised(b)
    residual = b - _tone_curve(a, b)

    detail = cv2.min(_blocks(a * a) - _blocks(a) ** 2, _blocks(b * b) - _blocks(b) ** 2)
    floor = _CONTENT_FLOOR + (_TONE_FLOOR / min(scale_a, scale_b)) ** 2
    return float((_blocks(residual * residual) / (detail.clip(0) + floor)).max())


def _blocks(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of the overlapping blocks: 2x2 cells each, next to each other by one cell."""
    cells = cv2.resize(image, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    pairs = cells[1:] + cells[:-1]
    return (pairs[:, 1:] + pairs[:, :-1]) / 4


def _tone_curve(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cubic polynomial of `a` that is nearest to `b` in the least squares."""
    powers = np.stack([np.ones_like(a), a, a * a, a * a * a]).reshape(4, -1)
    ridge = _RIDGE * a.size * np.eye(4, dtype=np.float32)  # windows of two tones have no cubic
    curve = np.linalg.solve(powers @ powers.T + ridge, powers @ b.ravel())
    return (curve @ powers).reshape(b.shape)


def _standardised(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The image at half size, free of pixel noise, with mean 0 and variance 1; its deviation."""
    side = len(image) // 2
    half = cv2.resize(image[: 2 * side, : 2 * side], (side, side), interpolation=cv2.INTER_AREA)
    half = cv2.GaussianBlur(half, (5, 5), 0.6)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(half))
    scale = max(deviation, 1e-3)
    return (half - np.float32(mean)) / np.float32(scale), scale
