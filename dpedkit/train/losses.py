"""The terms of the generator's loss, each in the paper's form and in that of the authors' code.

Images are `(N, 3, H, W)` in [0, 1]. Every term is a mean over the N images of a batch, except where
its docstring says otherwise; the weights of the terms stand in `TrainConfig`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from dpedkit import metrics

_EPS = 1e-12
# Paper, eq. 4: A = 0.053 = 1 / (2 pi 3), so its sigma = 3 is the variance in px^2.
_PAPER_VARIANCE = 3.0
_AUTHORS_TAPS, _AUTHORS_SPREAD = 21, 3.0
# Zhao et al., 2017: Loss functions for image restoration with neural networks, eq. 9.
_MS_SSIM_SHARE = 0.84


def content_paper(features: Tensor, target_features: Tensor) -> Tensor:
    """Paper, eq. 6: the Euclidean distance of VGG-19's relu5_4 maps, over their number of values.

    Parameters
    ----------
    features, target_features : (N, C, h, w) tensor
        Of the enhanced and of the DSLR image.
    """
    distance = _norm(features - target_features)
    return (distance / features[0].numel()).mean()


def content_authors(features: Tensor, target_features: Tensor) -> Tensor:
    """The authors' code: the mean squared difference of VGG-19's relu5_4 maps."""
    return functional.mse_loss(features, target_features)


def content_msssim_l1(enhanced: Tensor, target: Tensor) -> Tensor:
    """0.84 (1 - MS-SSIM) + 0.16 |difference| (Zhao et al., 2017), where there are no VGG weights.

    The absolute difference is not weighted by a Gaussian as in their eq. 9.
    """
    structure = 1 - metrics.ms_ssim_to_learn_from(enhanced, target).mean()
    return _MS_SSIM_SHARE * structure + (1 - _MS_SSIM_SHARE) * pixel_l1(enhanced, target)


def pixel_l1(enhanced: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference; not in the paper."""
    return functional.l1_loss(enhanced, target)


def colour_paper(enhanced: Tensor, target: Tensor) -> Tensor:
    """Paper, eq. 2: the squared Euclidean distance of the blurred images.

    The blur is eq. 4, a Gaussian of variance 3 (standard deviation 1.73 px), with zeros outside
    the image.
    """
    difference = blur(enhanced - target, paper_taps())
    return difference.square().sum(dim=(1, 2, 3)).mean()


def colour_authors(enhanced: Tensor, target: Tensor) -> Tensor:
    """The authors' code: half the squared distance of the images under their wider blur.

    Its 21 taps have a standard deviation of 4.34 px.
    """
    difference = blur(enhanced - target, authors_taps())
    return difference.square().sum(dim=(1, 2, 3)).mean() / 2


def texture_paper(log_odds: Tensor) -> Tensor:
    """Paper, eq. 5: -log D of the enhanced images.

    Parameters
    ----------
    log_odds : (N,) tensor
        The discriminator's output: log-odds that a DSLR took the picture.
    """
    return -functional.logsigmoid(log_odds).mean()


def texture_authors(log_odds: Tensor) -> Tensor:
    """The authors' code: log of the probability that the discriminator sees through the images.

    Falls without limit as the discriminator is deceived, and hardly pulls where it is not (the
    saturating form). It is a sum over the batch, so its share grows with the batch's size.
    """
    return functional.logsigmoid(-log_odds).sum()


def tv_paper(enhanced: Tensor) -> Tensor:
    """Paper, eq. 7: the Euclidean norm of the summed gradients, over the number of values.

    Gradients are differences to the next pixel, where there is one in both directions.
    """
    here = enhanced[:, :, :-1, :-1]
    horizontal, vertical = enhanced[:, :, :-1, 1:] - here, enhanced[:, :, 1:, :-1] - here
    return (_norm(horizontal + vertical) / enhanced[0].numel()).mean()


def tv_authors(enhanced: Tensor) -> Tensor:
    """The authors' code: mean squared differences to the right and to the lower neighbour."""
    horizontal = enhanced[:, :, :, 1:] - enhanced[:, :, :, :-1]
    vertical = enhanced[:, :, 1:, :] - enhanced[:, :, :-1, :]
    # 2 (sum dx^2 / 2 / size_x + sum dy^2 / 2 / size_y) / N, where a size is that of one image
    return horizontal.square().mean() + vertical.square().mean()


def discriminator_loss(log_odds: Tensor, is_dslr: Tensor) -> Tensor:
    """Cross-entropy of the discriminator's verdicts (paper, section III-A.2).

    Parameters
    ----------
    log_odds : (N,) tensor
    is_dslr : (N,) bool tensor
        The truth.
    """
    return functional.binary_cross_entropy_with_logits(log_odds, is_dslr.to(log_odds.dtype))


def paper_taps() -> Tensor:
    """One axis of the Gaussian of eq. 4, cut off at four standard deviations: (15,) float64.

    The two axes' product is A exp(-k^2 / (2 sigma) - l^2 / (2 sigma)) with A = 0.053.
    """
    reach = math.ceil(4 * math.sqrt(_PAPER_VARIANCE))
    k = torch.arange(-reach, reach + 1, dtype=torch.float64)
    return torch.exp(-k.square() / (2 * _PAPER_VARIANCE)) / math.sqrt(2 * math.pi * _PAPER_VARIANCE)


def authors_taps() -> Tensor:
    """One axis of the authors' blur: (21,) float64, of sum 1.

    They take the square root of the outer product of Gaussian cell masses, which is the outer
    product of the roots: a Gaussian of twice the variance they name, before it is cut off.
    """
    cell = (2 * _AUTHORS_SPREAD + 1) / _AUTHORS_TAPS
    edges = torch.linspace(
        -_AUTHORS_SPREAD - cell / 2,
        _AUTHORS_SPREAD + cell / 2,
        _AUTHORS_TAPS + 1,
        dtype=torch.float64,
    )
    roots = torch.special.ndtr(edges).diff().sqrt()
    return roots / roots.sum()


def blur(images: Tensor, taps: Tensor) -> Tensor:
    """Blur both axes with the same symmetric taps, zeros outside: (N, C, H, W) -> the same."""
    # On patches a banded matrix product beats a convolution many times over on a CPU.
    band = tuple(taps.tolist())
    rows, columns = (
        _band_matrix(band, size, images.dtype, images.device) for size in images.shape[-2:]
    )
    return rows @ images @ columns.T


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _band_matrix(
    taps: tuple[float, ...], size: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The (size, size) matrix with `taps` along its diagonals."""
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for tap, offset in zip(taps, range(-(len(taps) // 2), len(taps) // 2 + 1), strict=True):
        if abs(offset) < size:
            matrix.diagonal(offset).fill_(tap)
    return matrix.to(dtype=dtype, device=device)


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm of each image, with a finite gradient at zero: (N, ...) -> (N,)."""
    return (x.square().flatten(1).sum(dim=1) + _EPS).sqrt()
