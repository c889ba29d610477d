"""The terms of the generator's loss as modules, as the paper and as the authors' code define them.

    colour = ColourLoss("paper")
    loss = 0.1 * colour(enhanced, dslr) + 400 * TVLoss("paper")(enhanced)

Images are `(N, 3, H, W)` float tensors in [0, 1]. Every term is a mean over the N images of a
batch, except where its docstring says otherwise. `TrainConfig` holds the weights of the terms. The
magnitudes of the two definitions differ by orders of magnitude, so each needs its own weights.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpedkit import metrics

DEFINITIONS = ("paper", "authors")

_EPS = 1e-12
# Paper, eq. 4: A = 0.053 = 1 / (2 pi 3), so its sigma = 3 is the variance in px^2.
_PAPER_VARIANCE = 3.0
_AUTHORS_TAPS, _AUTHORS_SPREAD = 21, 3.0
# Zhao et al., 2017: Loss functions for image restoration with neural networks, eq. 9.
_MS_SSIM_SHARE = 0.84


class _Loss(nn.Module):
    """A term of one of the two definitions.

    Raises
    ------
    ValueError
        If there is no such definition.
    """

    def __init__(self, definition: str = "paper") -> None:
        super().__init__()
        if definition not in DEFINITIONS:
            raise ValueError(f"definition is {definition!r}, but must be 'paper' or 'authors'")
        self.definition = definition

    def extra_repr(self) -> str:
        """For `repr`."""
        return repr(self.definition)


class ContentLoss(_Loss):
    """Distance between the feature maps of two images (paper, eq. 6).

    With `f` the feature maps of an image, of `C' x H' x W'` values:

    - "paper": `||f(x) - f(y)||_2 / (C' H' W')`, the Euclidean distance over the number of values;
    - "authors": `||f(x) - f(y)||_2^2 / (C' H' W')`, the mean squared difference.

    Parameters
    ----------
    network : nn.Module
        From images in [0, 1] to feature maps (N, C', H', W'): VGG-19 up to relu5_4 in the paper.
        It is used directly, not copied; put it into evaluation mode and freeze it first.
    definition : str
        "paper" or "authors".
    """

    def __init__(self, network: nn.Module, definition: str = "paper") -> None:
        super().__init__(definition)
        self.network = network

    def forward(self, enhanced: Tensor, target: Tensor) -> Tensor:
        """Two (N, 3, H, W) images -> () loss; no gradient flows to `target`."""
        _check_images(enhanced, target)
        with torch.no_grad():
            target_features = self.network(target)
        return self.distance(self.network(enhanced), target_features)

    def distance(self, features: Tensor, target_features: Tensor) -> Tensor:
        """The loss of feature maps that are already computed: (N, C', H', W') twice -> ()."""
        if self.definition == "authors":
            return functional.mse_loss(features, target_features)
        distance = _norm(features - target_features)
        return (distance / features[0].numel()).mean()


class ColourLoss(_Loss):
    """Squared distance of two blurred images (paper, eq. 2 to 4).

    With `b` a Gaussian blur of each channel, with zero padding:

    - "paper": `sum (b(x) - b(y))^2` over the values of an image. `b` is eq. 4, a Gaussian of
      *variance* 3 (standard deviation 1.73 px);
    - "authors": `sum (b(x) - b(y))^2 / 2`, with 21 taps of standard deviation 4.34 px.

    Parameters
    ----------
    definition : str
        "paper" or "authors".
    """

    def __init__(self, definition: str = "paper") -> None:
        super().__init__(definition)
        self.taps = paper_taps() if definition == "paper" else authors_taps()

    def forward(self, enhanced: Tensor, target: Tensor) -> Tensor:
        """Two (N, C, H, W) images -> () loss."""
        _check_images(enhanced, target)
        difference = blur(enhanced - target, self.taps)
        distance = difference.square().sum(dim=(1, 2, 3)).mean()
        return distance if self.definition == "paper" else distance / 2


class TextureLoss(_Loss):
    """How clearly the discriminator sees that an image is not from a DSLR (paper, eq. 5).

    With `D` the discriminator's probability of that, the sigmoid of its logit:

    - "paper": `-log D(x)`;
    - "authors": `sum log (1 - D(x))`. It falls without limit as the discriminator is
      deceived, and has almost no gradient where it is not (the saturating form). It is a *sum* over
      the batch, so its share grows with the batch size.

    Parameters
    ----------
    definition : str
        "paper" or "authors".
    """

    def forward(self, logits: Tensor) -> Tensor:
        """(N,) logits of the discriminator for the enhanced images -> () loss."""
        if self.definition == "authors":
            return functional.logsigmoid(-logits).sum()
        return -functional.logsigmoid(logits).mean()


class TVLoss(_Loss):
    """Total variation (paper, eq. 7).

    With `dx` and `dy` the differences to the right and to the lower neighbour, of an image of
    `C x H x W` values:

    - "paper": `||dx + dy||_2 / (C H W)`, where there is a neighbour in both directions;
    - "authors": `2 (sum dx^2 / 2 / (C H (W-1)) + sum dy^2 / 2 / (C (H-1) W))`.

    Parameters
    ----------
    definition : str
        "paper" or "authors".
    """

    def forward(self, enhanced: Tensor) -> Tensor:
        """(N, C, H, W) images -> () loss."""
        _check_images(enhanced)
        if self.definition == "authors":
            horizontal = enhanced[:, :, :, 1:] - enhanced[:, :, :, :-1]
            vertical = enhanced[:, :, 1:, :] - enhanced[:, :, :-1, :]
            return horizontal.square().mean() + vertical.square().mean()
        here = enhanced[:, :, :-1, :-1]
        horizontal, vertical = enhanced[:, :, :-1, 1:] - here, enhanced[:, :, 1:, :-1] - here
        return (_norm(horizontal + vertical) / enhanced[0].numel()).mean()


class MSSSIML1Loss(nn.Module):
    """0.84 (1 - MS-SSIM) + 0.16 |difference| (Zhao et al., 2017): content without VGG weights.

    The absolute difference is not weighted by a Gaussian as in their eq. 9.
    """

    def forward(self, enhanced: Tensor, target: Tensor) -> Tensor:
        """Two (N, C, H, W) images of at least 16 px on each side -> () loss."""
        _check_images(enhanced, target)
        structure = ms_ssim_loss(enhanced, target)
        return _MS_SSIM_SHARE * structure + (1 - _MS_SSIM_SHARE) * pixel_l1(enhanced, target)


def ms_ssim_loss(enhanced: Tensor, target: Tensor) -> Tensor:
    """1 - MS-SSIM, with a gradient where a scale correlates negatively too."""
    return 1 - metrics.ms_ssim_to_learn_from(enhanced, target).mean()


def pixel_l1(enhanced: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference; not in the paper."""
    return functional.l1_loss(enhanced, target)


def discriminator_loss(logits: Tensor, is_dslr: Tensor) -> Tensor:
    """Cross-entropy of the discriminator (paper, section III-A.2).

    Parameters
    ----------
    logits : (N,) tensor
    is_dslr : (N,) bool tensor
        The truth.
    """
    return functional.binary_cross_entropy_with_logits(logits, is_dslr.to(logits.dtype))


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


def _check_images(*images: Tensor) -> None:
    """Refuse what broadcasting would silently make something of."""
    for image in images:
        if image.dim() != 4 or not image.is_floating_point():
            raise ValueError(
                f"images must be (N, C, H, W) float tensors in [0, 1], not {tuple(image.shape)} "
                f"{image.dtype}"
            )
    if len({image.shape for image in images}) > 1:
        shapes = " and ".join(str(tuple(image.shape)) for image in images)
        raise ValueError(f"the images must all have the same shape, but have {shapes}")
