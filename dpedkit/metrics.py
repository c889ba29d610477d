"""PSNR, SSIM and MS-SSIM, as the DPED authors compute them on 100x100 patches.

All functions take two `(N, C, H, W)` float tensors in [0, 1], are differentiable, and run on any
device. `psnr`, `ssim` and `ms_ssim` refuse anything else; the other functions skip that check, for
callers that have made it. The authors use two procedures, which differ by over 2 dB
on the same weights:

per image (their challenge code)
    PSNR of the clipped output, MS-SSIM of the unclipped one, each per image, then the mean.
per batch (their training code, behind the published tables)
    Inputs rounded to float16. PSNR of the mean squared error of 50 images at a time, MS-SSIM from
    statistics averaged over those 50, of the unclipped output; then the mean over the batches.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

AUTHORS_BATCH = 50
# Wang, Simoncelli and Bovik, 2003: from the finest scale to the coarsest.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MIN_SIDE = 2 ** (len(SCALE_WEIGHTS) - 1)  # px: one pixel is left at the coarsest scale
_WINDOW, _SIGMA = 11, 1.5  # taps, px
_C1, _C2 = 0.01**2, 0.03**2
# Networks overshoot [0, 1]; images in [-1, 1] or of levels from 0 to 255 reach these.
_LOWEST, _HIGHEST = -1.0, 2.0
_FLOOR = 1e-12  # of a scale's term in a power, whose gradient at 0 is infinite
_IMAGES_AT_ONCE = 5  # a thread: their maps fit into a CPU's cache, twice as fast as 50


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of each image: (N, C, H, W) twice -> (N,)."""
    return (a - b).square().mean(dim=(1, 2, 3))


def psnr_of_error(error: Tensor) -> Tensor:
    """PSNR in dB of a mean squared error of images in [0, 1]; infinite for an error of zero.

    It is float64 and in main memory: not every device knows float64.
    """
    return -10 * torch.log10(error.cpu().double())


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """PSNR of each image in dB, for a peak of 1.

    Parameters
    ----------
    a, b : (N, C, H, W) tensor
        Of floats, in [0, 1].

    Returns
    -------
    (N,) tensor of float64
        In main memory; inf for identical images.

    Raises
    ------
    TypeError
        If `a` or `b` is not a tensor of floats.
    ValueError
        If they differ in shape, are not of rank 4, or reach far beyond [0, 1], as images with
        levels from 0 to 255 do.
    """
    _check(a, b)
    return psnr_of_error(squared_error(a, b))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of each image: Gaussian window of 11 taps and sigma 1.5, only where it fits inside.

    Parameters
    ----------
    a, b : (N, C, H, W) tensor
        Of floats, in [0, 1].

    Returns
    -------
    (N,) tensor
        Mean over channels and positions.

    Raises
    ------
    TypeError, ValueError
        As `psnr`.
    """
    _check(a, b)
    return _similarity_and_contrast(a, b)[0].mean(dim=1)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM of each image as the authors compute it: five scales, with a shrinking window.

    Parameters
    ----------
    a, b : (N, C, H, W) tensor
        Of floats, in [0, 1], not necessarily clipped; H and W at least 16.

    Returns
    -------
    (N,) tensor
        Where a scale correlates negatively the result is 0 (the authors' code gives NaN).

    Raises
    ------
    TypeError, ValueError
        As `psnr`, and if H or W is below 16.

    Notes
    -----
    The product over the scales of `contrast ** weight`, with SSIM in place of the contrast term
    at the coarsest. Library versions refuse images of 100x100 or keep the window at 11 taps.
    """
    _check(a, b)
    return ssim_and_ms_ssim(a, b)[1]


def ssim_and_ms_ssim(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both of each image, which share their first scale: (N,) and (N,)."""
    finest, terms = _scale_terms(a, b)
    return finest.mean(dim=1), _combine([term.mean(dim=1) for term in terms])


def ms_ssim_to_learn_from(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM of each image for losses: (N, C, H, W) twice -> (N,).

    Equal to `ms_ssim`, except where a scale correlates negatively: that scale counts as barely
    positive, so that the others keep their gradient.
    """
    return _combine([term.mean(dim=1).clamp(min=_FLOOR) for term in _scale_terms(a, b)[1]])


def ms_ssim_of_batch(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM of a whole batch at once, as the authors' training code computes it.

    Each scale's statistics are averaged over all images before the scales are multiplied.

    Returns
    -------
    () tensor
    """
    return _combine([term.mean() for term in _scale_terms(a, b)[1]])


def _check(a: Any, b: Any) -> None:
    """Refuse images for which the metrics would return a meaningless number."""
    for name, images in (("a", a), ("b", b)):
        if not isinstance(images, Tensor):
            raise TypeError(f"{name} is of type {type(images).__name__}, but must be a tensor")
        told = f"{name} is a tensor of {images.dtype} with the shape {tuple(images.shape)}"
        if not images.is_floating_point():
            raise TypeError(f"{told}, but must hold floats in [0, 1]")
        if images.ndim != 4:
            raise ValueError(f"{told}, but must have the shape (N, C, H, W)")
    if a.shape != b.shape:
        raise ValueError(f"the shapes differ: a has {tuple(a.shape)}, b has {tuple(b.shape)}")
    for name, images in (("a", a), ("b", b)):
        if images.numel() == 0:
            continue
        low, high = (float(limit) for limit in images.detach().aminmax())
        if low <= _LOWEST or high >= _HIGHEST:
            raise ValueError(
                f"{name} has values from {low:g} to {high:g}, but images must be in [0, 1]; divide "
                "8-bit values by 255"
            )


def _scale_terms(a: Tensor, b: Tensor) -> tuple[Tensor, list[Tensor]]:
    """SSIM at the finest scale; and per scale the contrast, for the coarsest SSIM: (N, C) each."""
    if min(a.shape[-2:]) < MIN_SIDE:
        raise ValueError(
            f"MS-SSIM needs images of at least {MIN_SIDE} px on each side; these have the shape "
            f"{tuple(a.shape)}"
        )
    on_cpu = a.device.type == "cpu"
    at_once = _IMAGES_AT_ONCE * torch.get_num_threads() if on_cpu else len(a)
    parts = [
        _scale_terms_at_once(part_a, part_b)
        for part_a, part_b in zip(a.split(at_once), b.split(at_once), strict=True)
    ]
    finest, *terms = (torch.cat(term) for term in zip(*parts, strict=True))
    return finest, terms


def _scale_terms_at_once(a: Tensor, b: Tensor) -> list[Tensor]:
    finest, contrast = _similarity_and_contrast(a, b)
    terms = [finest, contrast]
    for _ in SCALE_WEIGHTS[1:]:
        a, b = _halve(a), _halve(b)
        similarity, contrast = _similarity_and_contrast(a, b)
        terms.append(contrast)
    return [*terms[:-1], similarity]


def _combine(terms: list[Tensor]) -> Tensor:
    """The weighted product of the scales; 0 where one of them is not positive."""
    product = torch.ones_like(terms[0])
    for term, weight in zip(terms, SCALE_WEIGHTS, strict=True):
        power = term.clamp(min=_FLOOR) ** weight  # without the floor its gradient has no limit
        product = product * torch.where(term <= 0, 0, power)  # NaN stays NaN
    return product


def _similarity_and_contrast(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast-structure term of each channel: (N, C) each."""
    height, width = a.shape[-2:]
    size = min(_WINDOW, height, width)
    rows = _blur_matrix(height, size, a.dtype, a.device)  # (H', H)
    columns = _blur_matrix(width, size, a.dtype, a.device).T  # (W, W')

    # Four blurred maps are enough: the variances are only needed as their sum.
    maps = torch.stack([a, b, a * a + b * b, a * b])
    mean_a, mean_b, mean_squares, mean_product = rows @ (maps @ columns)  # (N, C, H', W') each
    product = mean_a * mean_b
    squares = mean_a.square() + mean_b.square()
    contrast = (2 * (mean_product - product) + _C2) / (mean_squares - squares + _C2)
    similarity = contrast * (2 * product + _C1) / (squares + _C1)
    return similarity.mean(dim=(2, 3)), contrast.mean(dim=(2, 3))


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _blur_matrix(length: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The banded (length - size + 1, length) matrix that blurs one axis, valid part only.

    On patches a dense matrix product beats a convolution more than tenfold on a CPU.
    """
    sigma = _SIGMA * size / _WINDOW
    taps = [math.exp(-((k - (size - 1) / 2) ** 2) / (2 * sigma**2)) for k in range(size)]
    outputs = length - size + 1
    matrix = torch.zeros(outputs, length, dtype=torch.float64)
    for k, tap in enumerate(taps):
        matrix.diagonal(k)[:outputs] = tap / sum(taps)
    return matrix.to(dtype=dtype, device=device)


def _halve(x: Tensor) -> Tensor:
    """2x2 means of (N, C, H, W); an odd last row or column is averaged with itself."""
    odd_height, odd_width = x.shape[-2] % 2, x.shape[-1] % 2
    if odd_height or odd_width:
        x = functional.pad(x, (0, odd_width, 0, odd_height), mode="replicate")
    return functional.avg_pool2d(x, 2)
