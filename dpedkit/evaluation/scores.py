"""Scores of one method on one split, by both of the authors' procedures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit import metrics


@dataclass(frozen=True)
class Scores:
    """How close images are to the DSLR's.

    Attributes
    ----------
    psnr : float or None
        dB, mean over the images of the clipped output; None if all are identical.
    identical : int
        Number of images equal to the DSLR's: their PSNR is infinite, so they are left out of that
        mean.
    psnr_per_batch : float or None
        dB, mean over batches of 50 of the PSNR of their mean squared error, unclipped.
    psnr_pooled : float or None
        dB, of the mean squared error over all pixels of all images, clipped.
    ssim : float
        Mean over the images, clipped.
    ms_ssim : float
        Mean over the images, unclipped.
    ms_ssim_per_batch : float
        Mean over batches of 50, unclipped.

    Those per batch are made from inputs rounded to float16, as in the authors' training code.
    """

    psnr: float | None
    identical: int
    psnr_per_batch: float | None
    psnr_pooled: float | None
    ssim: float
    ms_ssim: float
    ms_ssim_per_batch: float


class ScoreSheet:
    """Collects the scores of a split, batch by batch."""

    def __init__(self) -> None:
        self._errors: list[Tensor] = []  # of the clipped images, (N,) float64 a batch
        self._ssim: list[Tensor] = []
        self._ms_ssim: list[Tensor] = []
        self._batches: list[tuple[int, float, float]] = []  # images, unclipped error, MS-SSIM

    def add(self, images: Tensor, dslr: Tensor) -> None:
        """Score images one by one (the authors' challenge code).

        Parameters
        ----------
        images, dslr : (N, 3, S, S) float tensor
            In [0, 1]; `images` need not be clipped.
        """
        clipped = images.clamp(0, 1)
        self._errors.append(metrics.squared_error(clipped, dslr).cpu().double())
        similarity, ms_ssim = metrics.ssim_and_ms_ssim(images, dslr)
        beyond = (images != clipped).flatten(1).any(dim=1)
        if beyond.any():
            similarity[beyond] = metrics.ssim(clipped[beyond], dslr[beyond])
        self._ssim.append(similarity.cpu().double())
        self._ms_ssim.append(ms_ssim.cpu().double())

    def add_batch(self, images: Tensor, dslr: Tensor) -> None:
        """Score a batch as a whole (the authors' training code).

        Parameters
        ----------
        images, dslr : (N, 3, S, S) float tensor
            As for `add`, made from inputs that went `through_float16`; `metrics.AUTHORS_BATCH` of
            them, the last time perhaps fewer.
        """
        error = metrics.squared_error(images, dslr).mean().item()
        self._batches.append((len(images), error, metrics.ms_ssim_of_batch(images, dslr).item()))

    def of_images(self) -> dict[str, NDArray[np.float64]]:
        """PSNR (dB, inf for an image equal to the DSLR's), SSIM and MS-SSIM of each image: (N,)."""
        values = {
            "psnr": metrics.psnr_of_error(torch.cat(self._errors)),
            "ssim": torch.cat(self._ssim),
            "ms_ssim": torch.cat(self._ms_ssim),
        }
        return {name: value.numpy() for name, value in values.items()}

    def result(self) -> Scores:
        """The scores of all that was added; at least one batch."""
        errors = torch.cat(self._errors)
        differing = errors[errors > 0]
        # As in the authors' code, a last incomplete batch does not count, unless it is the only
        # one.
        whole = [batch for batch in self._batches if batch[0] == metrics.AUTHORS_BATCH]
        batches = whole or self._batches
        batch_psnr = [_psnr(error) for _, error, _ in batches if error > 0]
        return Scores(
            psnr=metrics.psnr_of_error(differing).mean().item() if len(differing) else None,
            identical=len(errors) - len(differing),
            psnr_per_batch=sum(batch_psnr) / len(batch_psnr) if batch_psnr else None,
            psnr_pooled=_psnr(errors.mean().item()) if len(differing) else None,
            ssim=torch.cat(self._ssim).mean().item(),
            ms_ssim=torch.cat(self._ms_ssim).mean().item(),
            ms_ssim_per_batch=sum(batch[2] for batch in batches) / len(batches),
        )


def through_float16(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Levels as values in [0, 1] that are rounded as the authors' training code rounds them."""
    return (levels.astype(np.float16) / np.float16(255)).astype(np.float32)


def _psnr(error: float) -> float:
    return -10 * math.log10(error)
