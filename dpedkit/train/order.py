"""In which order patches are trained on: a function of the seed and the position alone.

Nothing is remembered between steps, so a run that continues from a checkpoint sees exactly what
it would have seen without the interruption. Processes that train together divide each step among
them: rank r of W with batches of B sees the r-th part of what one process with batches of W*B sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A block is read in one go, at the full speed of a disk; patches of a photo lie side by side, so
# a group has to mix many blocks. Both are small against the memory of any machine that trains.
_BLOCK_BYTES = 1 << 24
_BLOCKS_IN_GROUP = 32


class Stream(IntEnum):
    """Second word of a random generator's seed: streams of one seed never repeat each other."""

    ORDER = 0
    SYMMETRY = 1
    COIN = 2
    BLOCKS = 3


def generator(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """The random numbers of a stream for one step or epoch."""
    return np.random.default_rng((seed, int(stream), number))


Group = tuple[int, int]
"""A group of blocks: its epoch, and its number in that."""


@dataclass(frozen=True)
class FullShuffle:
    """Every epoch goes through all of `count` patch pairs once, in any order."""

    seed: int
    count: int

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Numbers of the patch pairs in the order of an epoch: (count,)."""
        return _permutation(self.seed, epoch, self.count)


@dataclass(frozen=True)
class BlockShuffle:
    """Every epoch goes through all patch pairs once, group by group.

    Blocks of neighbours come in any order; each group of them is shuffled within. So a disk reads
    long stretches, and only two groups must fit into memory.

    Attributes
    ----------
    seed, count : int
    block : int
        Patch pairs in a block.
    blocks : int
        Blocks in a group.
    """

    seed: int
    count: int
    block: int
    blocks: int = _BLOCKS_IN_GROUP

    @classmethod
    def of_patches(cls, seed: int, count: int, pair_bytes: int) -> BlockShuffle:
        """Blocks of about 16 MiB of patch pairs of `pair_bytes` each."""
        return cls(seed, count, max(_BLOCK_BYTES // pair_bytes, 1))

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Numbers of the patch pairs in the order of an epoch: (count,)."""
        return _block_permutation(self, epoch)

    def blocks_of(self, group: Group) -> list[range]:
        """The blocks of a group, as ranges of patch numbers."""
        return _groups(self, group[0])[group[1]]

    def group_at(self, position: int) -> Group:
        """The group that a position in the sequence of all epochs falls into."""
        epoch, place = divmod(position, self.count)
        sizes = [sum(map(len, blocks)) for blocks in _groups(self, epoch)]
        return epoch, int(np.searchsorted(np.cumsum(sizes), place, side="right"))

    def group_after(self, group: Group) -> Group:
        """The group whose turn comes next."""
        epoch, number = group
        last = number + 1 == len(_groups(self, epoch))
        return (epoch + 1, 0) if last else (epoch, number + 1)


Order = FullShuffle | BlockShuffle


def batch_positions(step: int, batch: int, rank: int = 0, world_size: int = 1) -> range:
    """Positions of a step's patch pairs in the sequence of all epochs."""
    first = (step * world_size + rank) * batch
    return range(first, first + batch)


def batch_indices(
    order: Order, step: int, batch: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Numbers of the patch pairs of a step, counted from 0: (batch,) in range(count).

    A batch may end one epoch and begin the next.
    """
    positions = np.array(batch_positions(step, batch, rank, world_size))
    epochs, places = np.divmod(positions, order.count)
    indices = np.empty(batch, np.int64)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        indices[inside] = order.epoch(int(epoch))[places[inside]]
    return indices


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    found: Any = generator(seed, Stream.ORDER, epoch).permutation(count)
    return np.asarray(found, np.int64)


@lru_cache(maxsize=2)
def _block_permutation(order: BlockShuffle, epoch: int) -> NDArray[np.int64]:
    random = generator(order.seed, Stream.ORDER, epoch)
    parts = [
        random.permutation(np.concatenate([np.arange(b.start, b.stop) for b in blocks]))
        for blocks in _groups(order, epoch)
    ]
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _groups(order: BlockShuffle, epoch: int) -> list[list[range]]:
    starts = range(0, order.count, order.block)
    shuffled = generator(order.seed, Stream.BLOCKS, epoch).permutation(len(starts))
    blocks = [
        range(starts[n], min(starts[n] + order.block, order.count)) for n in shuffled.tolist()
    ]
    return [blocks[n : n + order.blocks] for n in range(0, len(blocks), order.blocks)]
