"""The batches that a network is trained on: chosen by the step alone, brought to the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.core.device import to_images
from dpedkit.shards.reader import SplitReader
from dpedkit.train.loader import (
    Ahead,
    GroupReadAhead,
    Mapped,
    Pixels,
    make_loader,
    warn_if_larger_than_memory,
)
from dpedkit.train.order import (
    BlockShuffle,
    FullShuffle,
    Order,
    Stream,
    batch_indices,
    batch_positions,
    generator,
)

SYMMETRIES = 8  # four quarter turns, mirrored or not


class TrainBatches:
    """The train split as a sequence of batches on a device.

    Parameters
    ----------
    reader : SplitReader
        At least one patch pair.
    batch : int
        Patch pairs in a batch.
    seed : int
    augment : bool
        Whether each patch pair is flipped and turned at random.
    device : torch.device
    shuffle : str
        "full", or "blocks" for an order that reads long stretches of the files.
    loader : str
        "memory", "mapped", or "auto"; does not change the batches.
    rank, world_size : int
        Which of how many processes that train together this is; each gets `batch` pairs of a step,
        and no two the same.

    Raises
    ------
    UsageError
        If `loader` is "memory" and the patches do not fit into that of the GPU.
    """

    def __init__(
        self,
        reader: SplitReader,
        batch: int,
        seed: int,
        augment: bool,
        device: torch.device,
        *,
        shuffle: str = "full",
        loader: str = "auto",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch, self.seed, self.augment, self.device = batch, seed, augment, device
        self.rank, self.world_size = rank, world_size
        self._loader = make_loader(reader, device, loader)
        self._pixels = self._load
        self._read_ahead: GroupReadAhead | None = None
        blocks = BlockShuffle.of_patches(seed, len(reader), reader.nbytes // len(reader))
        self._order: Order = blocks if shuffle == "blocks" else FullShuffle(seed, len(reader))
        if isinstance(self._loader, Mapped):
            self._pixels = Ahead(self._load).at
            if shuffle == "blocks":
                self._read_ahead = GroupReadAhead(reader, blocks)
            else:
                warn_if_larger_than_memory(reader)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Phone and DSLR patches of a step: two (B, 3, S, S) float32 tensors in [0, 1]."""
        phone, dslr = (to_images(part, self.device) for part in self._pixels(step))
        if self.augment:
            which = symmetries(self.seed, step, self.batch, self.rank, self.world_size)
            phone, dslr = apply_symmetries(phone, which), apply_symmetries(dslr, which)
        return phone, dslr

    def indices(self, step: int) -> NDArray[np.int64]:
        """Numbers of the patch pairs of a step: (B,)."""
        return batch_indices(self._order, step, self.batch, self.rank, self.world_size)

    def _load(self, step: int) -> Pixels:
        if self._read_ahead:
            self._read_ahead.wait_for(batch_positions(step, self.batch, self.rank, self.world_size))
        elif isinstance(self._loader, Mapped):
            self._loader.announce(self.indices(step + 1))
        return self._loader.load(self.indices(step))


def symmetries(
    seed: int, step: int, batch: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Which of the eight symmetries of the square each patch pair of a step gets: (batch,)."""
    random = generator(seed, Stream.SYMMETRY, step)
    whole = random.integers(SYMMETRIES, size=world_size * batch)
    return whole[rank * batch : (rank + 1) * batch]


def apply_symmetries(images: Tensor, which: NDArray[np.int64]) -> Tensor:
    """Turn image n by `which[n] % 4` quarters, then mirror it if `which[n] >= 4`.

    Parameters
    ----------
    images : (B, C, S, S) tensor
    which : (B,) int array
    """
    result = torch.empty_like(images)
    for symmetry in np.unique(which):
        chosen = torch.from_numpy(np.flatnonzero(which == symmetry)).to(images.device)
        turned = torch.rot90(images[chosen], int(symmetry) % 4, dims=(2, 3))
        result[chosen] = turned.flip(3) if symmetry >= 4 else turned
    return result


def coins(
    seed: int, step: int, batch: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.bool_]:
    """One fair coin for each patch pair of a step: (batch,)."""
    whole = generator(seed, Stream.COIN, step).integers(2, size=world_size * batch) == 1
    return whole[rank * batch : (rank + 1) * batch]
