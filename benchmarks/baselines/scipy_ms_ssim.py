"""MS-SSIM of the DPED authors by scipy: a direct translation, image by image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from dpedkit.metrics import SCALE_WEIGHTS

Images = NDArray[np.float64]  # (N, H, W, 3) in 0..255


def scipy_ms_ssim(a: Images, b: Images) -> Images:
    """MS-SSIM of each image (N,): scipy's own convolutions, one after the other."""
    return np.array([_of_one(x[None], y[None]) for x, y in zip(a, b, strict=True)])


def _of_one(a: Images, b: Images) -> float:
    weights = np.array(SCALE_WEIGHTS)
    halving = np.ones((1, 2, 2, 1)) / 4
    similarities, contrasts = [], []
    for _ in weights:
        similarity, contrast = _similarity_and_contrast(a, b)
        similarities.append(similarity)
        contrasts.append(contrast)
        a, b = (ndimage.convolve(x, halving, mode="reflect")[:, ::2, ::2] for x in (a, b))
    return float(
        np.prod(np.array(contrasts[:-1]) ** weights[:-1]) * similarities[-1] ** weights[-1]
    )


def _similarity_and_contrast(a: Images, b: Images) -> tuple[float, float]:
    size = min(11, a.shape[1], a.shape[2])
    positions = np.arange(size) - (size - 1) / 2
    taps = np.exp(-(positions**2) / (2 * (1.5 * size / 11) ** 2))
    window = np.outer(taps, taps)[None, :, :, None] / taps.sum() ** 2

    def blur(x: Images) -> Images:
        blurred: Images = signal.fftconvolve(x, window, mode="valid")
        return blurred

    mean_a, mean_b = blur(a), blur(b)
    variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    contrast = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float((luminance * contrast).mean()), float(contrast.mean())
