"""How fast MS-SSIM is computed, beside a direct translation of the authors' definition to scipy.

    python benchmarks/metrics.py [--images 100] [--rounds 3] [--threads 1]

Both take the same batch of 50 images of 100x100 px in one process, by turns, and must agree.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, signal

from dpedkit.core.console import table
from dpedkit.metrics import AUTHORS_BATCH, SCALE_WEIGHTS, ms_ssim

SIDE = 100
_TOLERANCE = 1e-5
Images = NDArray[np.float64]  # (N, 100, 100, 3) in 0..255


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


def similar_images(count: int) -> tuple[Images, Images]:
    """Smooth random pictures, and the same with other contrast and some noise."""
    rng = np.random.default_rng(0)
    a = ndimage.gaussian_filter(rng.random((count, SIDE, SIDE, 3)), (0, 2, 2, 0)) * 4 - 1.5
    b = 0.8 * a + 0.1 + 0.05 * rng.standard_normal(a.shape)
    first, second = (np.round(np.clip(x, 0, 1) * 255) for x in (a, b))
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2 * AUTHORS_BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch; scipy uses one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    a, b = similar_images(options.images)
    tensors = [torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 for x in (a, b)]
    batches = list(zip(*(x.split(AUTHORS_BATCH) for x in tensors), strict=True))

    def ours() -> Images:
        with torch.inference_mode():
            return torch.cat([ms_ssim(x, y) for x, y in batches]).numpy()

    ways: dict[str, Callable[[], Images]] = {
        "scipy, direct translation": lambda: scipy_ms_ssim(a, b),
        "dpedkit.metrics.ms_ssim": ours,
    }
    results = {name: way() for name, way in ways.items()}
    first, second = results.values()
    difference = float(np.abs(first - second).max())
    assert difference < _TOLERANCE, f"they differ by {difference:.1e}"
    fastest = dict.fromkeys(ways, float("inf"))
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            fastest[name] = min(fastest[name], time.perf_counter() - start)
    slow = fastest["scipy, direct translation"]
    rows = [
        (name, f"{options.images / seconds:.0f}", f"{slow / seconds:.1f}")
        for name, seconds in fastest.items()
    ]
    note = f"best of {options.rounds} rounds by turns; largest difference {difference:.1e}"
    print(table(("MS-SSIM of 100x100 px", "images/s", "ratio"), rows, note))


if __name__ == "__main__":
    main()
