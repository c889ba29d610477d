"""The patches of a run's validations: how a network does on them, and a picture of some.

They are the same in every validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpedkit import metrics
from dpedkit.colourmap import ColourMap
from dpedkit.core.device import beside, to_images
from dpedkit.images import write_photo
from dpedkit.intervals import Interval, over_scenes
from dpedkit.models.discriminator import Discriminator, to_grey
from dpedkit.models.generator import Generator
from dpedkit.photomap import PatchGuides
from dpedkit.shards.reader import SplitReader
from dpedkit.shards.sampling import spread_indices
from dpedkit.shards.scenes import scene_names
from dpedkit.training.objective import Objective

_SAMPLES = 6
_GAP = 4  # px between the patches of a sample picture


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How close images are to the DSLR's.

    Attributes
    ----------
    psnr : float or None
        Mean over images, the authors' per-image procedure, of those that differ from the DSLR's;
        None where none does.
    ms_ssim : float
        Mean over images.
    over_scenes : dict of str to Interval
        "psnr" and "ms_ssim" as the mean over the scenes of each scene's mean; empty if it is not
        known which patches show the same scene, and without a PSNR that has no limit.
    """

    psnr: float | None
    ms_ssim: float
    over_scenes: dict[str, Interval] = field(default_factory=dict)

    def scores(self) -> dict[str, Any]:
        """As JSON-ready values: for the card of a network and for checkpoints."""
        intervals = {name: asdict(found) for name, found in self.over_scenes.items()}
        return {"psnr": self.psnr, "ms_ssim": self.ms_ssim, "over_scenes": intervals}


@dataclass(frozen=True, kw_only=True)
class Measurement(Quality):
    """What one validation found.

    Attributes
    ----------
    loss : float
        The generator's loss, the mean over batches.
    discriminator_accuracy : float or None
    spread : float
        Mean standard deviation within an enhanced patch.
    """

    loss: float
    discriminator_accuracy: float | None
    spread: float


class ValidationPatches:
    """A fixed choice of patches of one split, and how a network does on them.

    Parameters
    ----------
    reader : SplitReader
    count, batch : int
        Patches to look at, and how many at a time.
    device : torch.device
    guides : PatchGuides, optional
        The planes that the network needs beside those of the phone patches.
    """

    def __init__(
        self,
        reader: SplitReader,
        count: int,
        batch: int,
        device: torch.device,
        guides: PatchGuides | None = None,
    ) -> None:
        self.indices = spread_indices(len(reader), count)
        self.phone, self.dslr = reader.gather(self.indices)
        self.batch, self.device, self.guides = batch, device, guides
        names = scene_names(reader.folder)
        scenes = [names[pair] for pair in reader.pair[self.indices]]
        known = None not in scenes
        self.scenes = np.unique(np.array(scenes, str), return_inverse=True)[1] if known else None

    def measure(
        self, generator: Generator, discriminator: Discriminator | None, objective: Objective
    ) -> Measurement:
        """Measure networks, which are left in the mode that they were in."""
        losses, right, psnr, ms_ssim, spread = [], [], [], [], []
        with _evaluation_mode(generator, discriminator):
            for phone, dslr in self._batches():
                enhanced = generator(phone).float()
                logits = None
                if discriminator is not None:
                    logits = discriminator(to_grey(enhanced))
                    right += [logits < 0, discriminator(to_grey(dslr)) > 0]
                terms = objective.terms(enhanced, dslr, logits)
                losses.append(torch.stack(list(terms.values())).sum())
                psnr.append(metrics.psnr(enhanced.clamp(0, 1), dslr))
                ms_ssim.append(metrics.ssim_and_ms_ssim(enhanced, dslr)[1])
                spread.append(enhanced.std(dim=(2, 3)).mean(dim=1))
        return Measurement(
            loss=torch.stack(losses).mean().item(),
            discriminator_accuracy=_mean(torch.cat(right)) if right else None,
            spread=_mean(torch.cat(spread)),
            **vars(self._quality(torch.cat(psnr), torch.cat(ms_ssim))),
        )

    def _quality(self, psnr: Tensor, ms_ssim: Tensor) -> Quality:
        """From the scores `(N,)` of all patches."""
        found = {name: self._over_scenes(x) for name, x in (("psnr", psnr), ("ms_ssim", ms_ssim))}
        return Quality(
            psnr=_mean_of_differing(psnr),
            ms_ssim=_mean(ms_ssim),
            over_scenes={name: one for name, one in found.items() if one is not None},
        )

    def _over_scenes(self, scores: Tensor) -> Interval | None:
        """The mean over the scenes, without infinite scores."""
        if self.scenes is None:
            return None
        values = scores.cpu().double().numpy()
        kept = ~np.isposinf(values)
        counts = np.bincount(self.scenes[kept])
        sums = np.bincount(self.scenes[kept], values[kept])
        return over_scenes(sums[counts > 0] / counts[counts > 0])

    def quality(self, generator: Generator) -> Quality:
        """PSNR and MS-SSIM of enhanced patches, as `measure` has them."""
        with _evaluation_mode(generator):
            return self._quality_of(lambda phone: generator(phone).float())

    def untouched(self) -> Quality:
        """PSNR and MS-SSIM of the phone patches as they are."""
        return self._quality_of(lambda phone: phone[:, :3])

    def mapped(self, colours: ColourMap) -> Quality:
        """PSNR and MS-SSIM of the phone patches with their colours mapped."""

        def enhance(phone: Tensor) -> Tensor:
            pixels = phone[:, :3].permute(0, 2, 3, 1).cpu().numpy()
            return torch.from_numpy(colours.apply(pixels)).to(phone).permute(0, 3, 1, 2)

        return self._quality_of(enhance)

    def _quality_of(self, enhance: Callable[[Tensor], Tensor]) -> Quality:
        psnr, ms_ssim = [], []
        for phone, dslr in self._batches():
            enhanced = enhance(phone)
            psnr.append(metrics.psnr(enhanced.clamp(0, 1), dslr))
            ms_ssim.append(metrics.ssim_and_ms_ssim(enhanced, dslr)[1])
        return self._quality(torch.cat(psnr), torch.cat(ms_ssim))

    def write_samples(self, path: Path, generator: Generator) -> None:
        """A picture of a few patches: phone on the left, enhanced in the middle, DSLR right."""
        chosen = spread_indices(len(self.phone), _SAMPLES)
        with _evaluation_mode(generator):
            enhanced = generator(self._seen(chosen))
        levels = enhanced.float().clamp(0, 1).mul(255).round().to(torch.uint8)
        columns = [
            self.phone[chosen], levels.permute(0, 2, 3, 1).cpu().numpy(), self.dslr[chosen]
        ]  # fmt: skip
        write_photo(path, _grid(columns))

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.phone), self.batch):
            rows = slice(start, start + self.batch)
            yield self._seen(rows), to_images(self.dslr[rows], self.device)

    def _seen(self, rows: slice | NDArray[np.int64]) -> Tensor:
        """Phone patches as the network takes them."""
        phone = to_images(self.phone[rows], self.device)
        return phone if self.guides is None else beside(phone, self.guides(self.indices[rows]))


@contextmanager
def _evaluation_mode(*networks: nn.Module | None) -> Iterator[None]:
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
