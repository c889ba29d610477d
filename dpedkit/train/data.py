"""Which patches a training step sees: a function of the seed and the step alone.

Nothing is remembered between steps, so a run that continues from a checkpoint sees exactly what
it would have seen without the interruption. Processes that train together divide each step among
them: rank r of W with batches of B sees the r-th part of what one process with batches of W*B sees.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.device import to_images
from dpedkit.shards.reader import SplitReader

SYMMETRIES = 8  # four quarter turns, mirrored or not
# The second word of a random stream's seed: streams of one seed must not repeat each other.
_ORDER, _SYMMETRY, _COIN = 0, 1, 2


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
    rank, world_size : int
        Which of how many processes that train together this is; each gets `batch` pairs of a step,
        and no two the same.
    """

    def __init__(
        self,
        reader: SplitReader,
        batch: int,
        seed: int,
        augment: bool,
        device: torch.device,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.reader, self.batch, self.seed = reader, batch, seed
        self.augment, self.device = augment, device
        self.rank, self.world_size = rank, world_size

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Phone and DSLR patches of a step: two (B, 3, S, S) float32 tensors in [0, 1]."""
        indices = batch_indices(
            self.seed, step, self.batch, len(self.reader), self.rank, self.world_size
        )
        phone, dslr = (to_images(part, self.device) for part in self.reader.gather(indices))
        if self.augment:
            which = symmetries(self.seed, step, self.batch, self.rank, self.world_size)
            phone, dslr = apply_symmetries(phone, which), apply_symmetries(dslr, which)
        return phone, dslr


def batch_indices(
    seed: int, step: int, batch: int, count: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Numbers of the patch pairs of a step, counted from 0: (batch,) in range(count).

    Every epoch goes through all pairs once in an order of its own; a batch may end one epoch and
    begin the next.
    """
    first = (step * world_size + rank) * batch
    positions = np.arange(first, first + batch)
    epochs, places = np.divmod(positions, count)
    indices = np.empty(batch, np.int64)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        indices[inside] = _epoch_order(seed, int(epoch), count)[places[inside]]
    return indices


def symmetries(
    seed: int, step: int, batch: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Which of the eight symmetries of the square each patch pair of a step gets: (batch,)."""
    whole = np.random.default_rng((seed, _SYMMETRY, step)).integers(
        SYMMETRIES, size=world_size * batch
    )
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
    whole = np.random.default_rng((seed, _COIN, step)).integers(2, size=world_size * batch) == 1
    return whole[rank * batch : (rank + 1) * batch]


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    generator: Any = np.random.default_rng((seed, _ORDER, epoch))
    order: NDArray[np.int64] = generator.permutation(count)
    return order
