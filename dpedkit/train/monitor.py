"""Evaluations during training: always the same patches, which are never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpedkit import metrics
from dpedkit.core.device import to_images
from dpedkit.images import write_photo
from dpedkit.models.discriminator import Discriminator, to_grey
from dpedkit.models.generator import Generator
from dpedkit.shards.reader import SplitReader
from dpedkit.shards.sampling import spread_indices
from dpedkit.train.objective import Objective

_SAMPLES = 6
_GAP = 4  # px between the patches of a sample picture


@dataclass(frozen=True)
class Measurement:
    """What one evaluation found.

    Attributes
    ----------
    loss : float
        The generator's loss, the mean over batches.
    discriminator_accuracy : float or None
    psnr : float or None
        Mean over images, the authors' per-image procedure, of those that differ from the DSLR's;
        None where none does.
    ms_ssim : float
        Mean over images.
    spread : float
        Mean standard deviation within an enhanced patch.
    """

    loss: float
    discriminator_accuracy: float | None
    psnr: float | None
    ms_ssim: float
    spread: float


class Monitor:
    """A fixed choice of patches of one split, and how a network does on them.

    Parameters
    ----------
    reader : SplitReader
    count, batch : int
        Patches to look at, and how many at a time.
    device : torch.device
    """

    def __init__(self, reader: SplitReader, count: int, batch: int, device: torch.device) -> None:
        phone, dslr = reader.gather(spread_indices(len(reader), count))
        self.phone, self.dslr = phone, dslr
        self.batch, self.device = batch, device

    def measure(
        self, generator: Generator, discriminator: Discriminator | None, objective: Objective
    ) -> Measurement:
        """Evaluate networks, which are left in the mode that they were in."""
        losses, accuracies, psnr, ms_ssim, spread = [], [], [], [], []
        with _evaluating(generator, discriminator):
            for phone, dslr in self._batches():
                enhanced = generator(phone).float()
                log_odds = None
                if discriminator is not None:
                    log_odds = discriminator(to_grey(enhanced))
                    accuracies += [log_odds < 0, discriminator(to_grey(dslr)) > 0]
                terms = objective.terms(enhanced, dslr, log_odds)
                losses.append(torch.stack(list(terms.values())).sum())
                psnr.append(metrics.psnr(enhanced.clamp(0, 1), dslr))
                ms_ssim.append(metrics.ms_ssim(enhanced, dslr))
                spread.append(enhanced.std(dim=(2, 3)).mean(dim=1))
        return Measurement(
            loss=torch.stack(losses).mean().item(),
            discriminator_accuracy=_mean(torch.cat(accuracies)) if accuracies else None,
            psnr=_mean_of_differing(torch.cat(psnr)),
            ms_ssim=_mean(torch.cat(ms_ssim)),
            spread=_mean(torch.cat(spread)),
        )

    def quality(self, generator: Generator) -> dict[str, Any]:
        """PSNR and MS-SSIM of enhanced patches, as `measure` has them."""
        with _evaluating(generator):
            return self._quality_of(lambda phone: generator(phone).float())

    def untouched(self) -> dict[str, Any]:
        """PSNR and MS-SSIM of the phone patches as they are."""
        return self._quality_of(lambda phone: phone)

    def _quality_of(self, enhance: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        psnr, ms_ssim = [], []
        for phone, dslr in self._batches():
            enhanced = enhance(phone)
            psnr.append(metrics.psnr(enhanced.clamp(0, 1), dslr))
            ms_ssim.append(metrics.ms_ssim(enhanced, dslr))
        return {"psnr": _mean_of_differing(torch.cat(psnr)), "ms_ssim": _mean(torch.cat(ms_ssim))}

    def write_samples(self, path: Path, generator: Generator) -> None:
        """A picture of a few patches: phone on the left, enhanced in the middle, DSLR right."""
        chosen = spread_indices(len(self.phone), _SAMPLES)
        with _evaluating(generator):
            enhanced = generator(to_images(self.phone[chosen], self.device))
        levels = enhanced.float().clamp(0, 1).mul(255).round().to(torch.uint8)
        columns = [
            self.phone[chosen], levels.permute(0, 2, 3, 1).cpu().numpy(), self.dslr[chosen]
        ]  # fmt: skip
        write_photo(path, _grid(columns))

    def _batches(self) -> list[tuple[Tensor, Tensor]]:
        starts = range(0, len(self.phone), self.batch)
        return [
            (
                to_images(self.phone[start : start + self.batch], self.device),
                to_images(self.dslr[start : start + self.batch], self.device),
            )
            for start in starts
        ]


@contextmanager
def _evaluating(*networks: nn.Module | None) -> Iterator[None]:
    """Without gradients and in evaluation mode; each network then goes back to its own mode."""
    modes = [(network, network.training) for network in networks if network is not None]
    for network, _ in modes:
        network.eval()
    with torch.no_grad():
        yield
    for network, mode in modes:
        network.train(mode)


def _grid(columns: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Columns of (N, S, S, 3) patches side by side on white: (H, W, 3)."""
    rows, side = columns[0].shape[:2]
    pitch = side + _GAP
    canvas = np.full((rows * pitch - _GAP, len(columns) * pitch - _GAP, 3), 255, np.uint8)
    for x, column in enumerate(columns):
        for y, patch in enumerate(column):
            canvas[y * pitch : y * pitch + side, x * pitch : x * pitch + side] = patch
    return canvas


def _mean(values: Tensor) -> float:
    return values.cpu().double().mean().item()


def _mean_of_differing(psnr: Tensor) -> float | None:
    """Mean without images equal to the DSLR's; NaN stays NaN."""
    differing = psnr[~psnr.isposinf()]
    return _mean(differing) if len(differing) else None
