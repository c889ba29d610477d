"""The limitations that the paper names of its networks (section IV), as numbers.

Colour errors, too much contrast, amplified noise: a network can have a good PSNR and still show any
of them, and they may not matter equally to a user.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dpedkit.core.arrays import LUMA

_LEVELS = 255.0
# Below this standard deviation of the DSLR's luma, in levels, there is no contrast to compare.
_SOME_CONTRAST = 2.0
_BLOCK = 10  # px: ten to a side of the paper's patches
_FLAT_BELOW = 2.0  # levels: a block of the DSLR's photo without texture, only its little noise
# Immerkaer, 1996: Fast noise variance estimation. Blind to planes; 36 is its sum of squares.
_NOISE_KERNEL = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))
_NOISE_SCALE = 6.0


@dataclass(frozen=True)
class Limitations:
    """How strongly images show the limitations that the paper names.

    Attributes
    ----------
    colour_error : float
        Distance between the mean colours of an image and of the DSLR's, in 8-bit levels: the
        Euclidean norm over R, G and B, then the mean over the images. 0 is best.
    contrast_ratio : float or None
        Standard deviation of luma divided by that of the DSLR's image, the geometric mean over the
        images; above 1 is too much contrast. None if the DSLR's images have none.
    noise_gain : float or None
        Noise divided by that of the phone's image, both in the flat blocks of all images; above 1,
        noise is amplified. None if nothing is flat or the phone has no noise.
    flat_share : float
        Share of the blocks that are flat.
    """

    colour_error: float
    contrast_ratio: float | None
    noise_gain: float | None
    flat_share: float


class LimitationSheet:
    """Collects the limitations of a method on a split, batch by batch."""

    def __init__(self) -> None:
        self._colour: list[Tensor] = []  # (N,) float64 a batch
        self._log_contrast: list[Tensor] = []
        self._noise = self._phone_noise = 0.0  # summed squares in flat blocks
        self._flat = self._blocks = 0

    def add(self, images: Tensor, phone: Tensor, dslr: Tensor) -> None:
        """Measure images.

        Parameters
        ----------
        images, phone, dslr : (N, 3, S, S) float tensor
            In [0, 1]; `images` need not be clipped, but counts as clipped, as it would be saved.
        """
        images = images.clamp(0, 1)
        shift = (images.mean(dim=(2, 3)) - dslr.mean(dim=(2, 3))).cpu().double()
        self._colour.append(_LEVELS * shift.norm(dim=1))
        ours, phones, theirs = _luma(images), _luma(phone), _luma(dslr)
        spread, wanted = (
            x.std(dim=(2, 3), correction=0)[:, 0].cpu().double() for x in (ours, theirs)
        )
        comparable = wanted >= _SOME_CONTRAST
        ratio = spread[comparable].clamp(min=1e-3) / wanted[comparable]
        self._log_contrast.append(ratio.log())
        flat, inside = _flat_blocks(theirs)
        self._flat += int(flat.sum())
        self._blocks += flat.numel()
        self._noise += float((_noise(ours).square() * inside).cpu().double().sum())
        self._phone_noise += float((_noise(phones).square() * inside).cpu().double().sum())

    def colour_errors(self) -> NDArray[np.float64]:
        """The colour error of each image, in 8-bit levels: (N,)."""
        errors: NDArray[np.float64] = torch.cat(self._colour).numpy()
        return errors

    def result(self) -> Limitations:
        """The limitations of all that was added; at least one batch."""
        log_contrast = torch.cat(self._log_contrast)
        gain = math.sqrt(self._noise / self._phone_noise) if self._phone_noise else None
        return Limitations(
            colour_error=torch.cat(self._colour).mean().item(),
            contrast_ratio=log_contrast.mean().exp().item() if len(log_contrast) else None,
            noise_gain=gain,
            flat_share=self._flat / max(self._blocks, 1),
        )


def _luma(images: Tensor) -> Tensor:
    """(N, 3, S, S) in [0, 1] -> (N, 1, S, S) in levels."""
    weights = images.new_tensor(LUMA)[:, None, None]
    return _LEVELS * (images * weights).sum(dim=1, keepdim=True)


def _flat_blocks(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Which blocks are flat, (N, 1, S/10, S/10); and the pixels inside them, without the border.

    The second is (N, 1, S - 2, S - 2), for the maps of `_noise`.
    """
    mean = functional.avg_pool2d(luma, _BLOCK)
    variance = functional.avg_pool2d(luma.square(), _BLOCK) - mean.square()
    flat = variance < _FLAT_BELOW**2
    pixels = flat.to(luma.dtype).repeat_interleave(_BLOCK, 2).repeat_interleave(_BLOCK, 3)
    # A pixel whose neighbours lie in another block would see that block's edge.
    inner = torch.zeros_like(luma)
    height, width = pixels.shape[2:]
    inner[:, :, :height, :width] = pixels
    position = torch.arange(luma.shape[3], device=luma.device) % _BLOCK
    inside = (position > 0) & (position < _BLOCK - 1)
    inner = inner * inside[: luma.shape[2], None] * inside
    return flat, inner[:, :, 1:-1, 1:-1]


def _noise(luma: Tensor) -> Tensor:
    """What is left of an image without its smooth parts; for white noise, of its deviation."""
    kernel = luma.new_tensor(_NOISE_KERNEL)[None, None] / _NOISE_SCALE
    return functional.conv2d(luma, kernel)
