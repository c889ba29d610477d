"""The batch of each step: which patch pairs, read ahead by a thread, moved to the device.

All of it is a function of the seed and the step alone. Nothing is remembered between steps, so a
run that continues from a checkpoint sees exactly what it would have seen without the interruption.
Processes that train together divide each step among them: rank r of W with batches of B sees the
r-th part of what one process with batches of W*B sees. How patches are read affects
only the speed, never which patches a step gets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import count as count_from
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from dpedkit.core.console import warn
from dpedkit.core.device import beside, to_images
from dpedkit.core.errors import UsageError
from dpedkit.photomap import PatchGuides
from dpedkit.shards.dataset import DpedShards
from dpedkit.shards.reader import SplitReader
from dpedkit.training.config import TrainConfig
from dpedkit.training.distributed import Processes
from dpedkit.training.features import TargetFeatures, keep_features
from dpedkit.training.objective import Objective

SYMMETRIES = 8  # four quarter turns, mirrored or not
_GPU_SHARE = 0.5  # of the free memory of a GPU; the networks need the rest
_COPY = 512  # patch pairs on their way to the device at once
# A block is read in one go, at the full speed of a disk; patches of a photo lie side by side, so
# a group has to mix many blocks. Both are small against the memory of any machine that trains.
_BLOCK_BYTES = 1 << 24
_BLOCKS_IN_GROUP = 32

Levels = tuple[Tensor, Tensor]
"""Phone and DSLR patches on the device: (B, S, S, 3) uint8 each."""
Group = tuple[int, int]
"""A group of blocks: its epoch, and its number in that."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Batch:
    """What one step works on.

    Attributes
    ----------
    phone, dslr : (B, 3, S, S) float32 tensor
        In [0, 1].
    features : tensor or None
        The VGG-19 features of `dslr`, if they are kept.
    discriminator_phone, discriminator_dslr : tensor or None
        Patches for the discriminator's step, if it has a separate batch.
    show_dslr : (B,) bool tensor or None
        The pairs of which the discriminator sees the DSLR patch, if it sees only one of the two.
    """

    phone: Tensor
    dslr: Tensor
    features: Tensor | None = None
    discriminator_phone: Tensor | None = None
    discriminator_dslr: Tensor | None = None
    show_dslr: Tensor | None = None


class TrainLoader:
    """The batches of a run, or of one of several processes that train together.

    Parameters
    ----------
    config : TrainConfig
    dataset : DpedShards
        The train split: at least one patch pair.
    device : torch.device
    processes : Processes, optional
        Each gets an equal part of a step's batch, with no overlap.
    guides : PatchGuides, optional
        The planes that the network needs beside those of the phone patches.

    Attributes
    ----------
    waited_s : float
        Time spent in `batch` so far.

    Raises
    ------
    UsageError
        If the batch cannot be divided equally, or `config.loader` is "memory" and the patches do
        not fit into that of the GPU.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: DpedShards,
        device: torch.device,
        processes: Processes | None = None,
        guides: PatchGuides | None = None,
    ) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        self.guides = guides
        self.features: TargetFeatures | None = None
        self.waited_s = 0.0
        # The authors draw the discriminator's batch by itself; an epoch then still sees every
        # pair once, in one role or the other.
        self.draws = 2 if config.separate_batches and config.texture_weight else 1
        reader, processes = dataset.reader, processes or Processes()
        blocks = BlockShuffle.of_patches(config.seed, len(reader), reader.nbytes // len(reader))
        in_blocks = config.shuffle == "blocks"
        self.sampler = StepSampler(
            blocks if in_blocks else FullShuffle(config.seed, len(reader)),
            processes.share(config.batch),
            rank=processes.rank,
            world_size=processes.count,
        )
        self._block_reader: BlockReadAhead | None = None
        self._read: Callable[[int], Levels]
        if _fits_into_device(reader, device, config.loader):
            self._on_device = self._copy_to_device()
            self._read = self._select
            return
        self._read = Prefetcher(self._gather).result
        if in_blocks:
            self._block_reader = BlockReadAhead(reader, blocks)
        else:
            _warn_if_larger_than_memory(reader)

    def keep_features(self, objective: Objective) -> None:
        """Compute the VGG-19 features of all DSLR patches now, if there is memory for them."""
        self.features = keep_features(self.dataset.reader, objective, self.device)

    def batch(self, step: int) -> Batch:
        """The batch of a step; fastest when steps are asked for one after the other."""
        began = time.perf_counter()
        draw = step * self.draws
        phone, dslr = self.load(draw)
        features = self.features.at(self.sampler.indices(draw)) if self.features else None
        other_phone, other_dslr = self.load(draw + 1) if self.draws == 2 else (None, None)
        batch = Batch(phone, dslr, features, other_phone, other_dslr, self._show_dslr(step))
        self.waited_s += time.perf_counter() - began
        return batch

    def load(self, draw: int) -> tuple[Tensor, Tensor]:
        """Phone and DSLR patches of a draw: two (B, 3, S, S) float32 tensors in [0, 1].

        The phone patches have further planes if the network needs them.
        """
        phone, dslr = (to_images(levels, self.device) for levels in self._read(draw))
        if self.guides is not None:
            phone = beside(phone, self.guides(self.sampler.indices(draw)))
        if self.config.augment:
            which = self.sampler.random(Stream.SYMMETRY, SYMMETRIES, draw)
            phone, dslr = apply_symmetries(phone, which), apply_symmetries(dslr, which)
        return phone, dslr

    def _show_dslr(self, step: int) -> Tensor | None:
        """The authors' code shows the discriminator one patch of each pair, at random."""
        if self.config.losses != "authors" or not self.config.texture_weight:
            return None
        shown = self.sampler.random(Stream.DISCRIMINATOR, 2, step) == 1
        return torch.from_numpy(shown).to(self.device)

    def _gather(self, draw: int) -> Levels:
        """Copy a draw from the mapped shards."""
        indices = self.sampler.indices(draw)
        if self._block_reader is not None:
            self._block_reader.wait_for(self.sampler.positions(draw))
        else:
            # The patches needed next are announced to the disk now.
            self.dataset.reader.announce(self.sampler.indices(draw + 1))
        # A GPU fetches from pinned memory while the processor goes on. PyTorch keeps such memory
        # for the next batch, once the copy is done.
        phone, dslr = self.dataset.levels(indices, pin_memory=self.device.type == "cuda")
        return phone.to(self.device, non_blocking=True), dslr.to(self.device, non_blocking=True)

    def _select(self, draw: int) -> Levels:
        """Choose a draw from what is on the device already."""
        chosen = torch.from_numpy(self.sampler.indices(draw)).to(self.device)
        phone, dslr = self._on_device
        return phone.index_select(0, chosen), dslr.index_select(0, chosen)

    def _copy_to_device(self) -> Levels:
        """All patches of the split in the memory of the device, as they are on disk."""
        reader = self.dataset.reader
        shape = (len(reader), reader.patch_size, reader.patch_size, 3)
        whole = [torch.empty(shape, dtype=torch.uint8, device=self.device) for _ in range(2)]
        for start in range(0, len(reader), _COPY):
            rows = range(start, min(start + _COPY, len(reader)))
            for levels, part in zip(whole, self.dataset.levels(rows), strict=True):
                levels[rows.start : rows.stop] = part.to(self.device)
        return whole[0], whole[1]


class Prefetcher(Generic[Result]):
    """Does the work for the next number in a thread while this one's result is used."""

    def __init__(self, work: Callable[[int], Result]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._number, self._next = -1, Future[Result]()

    def result(self, number: int) -> Result:
        """The work's result; fastest when numbers come one after the other."""
        if number != self._number:
            self._next = self._thread.submit(self._work, number)
        result = self._next.result()
        self._number, self._next = number + 1, self._thread.submit(self._work, number + 1)
        return result


class BlockReadAhead:
    """Brings the groups of a block shuffle into the system's file cache, one before it is needed.

    Blocks are read from end to end, which any disk does at its full speed.
    """

    def __init__(self, reader: SplitReader, shuffle: BlockShuffle) -> None:
        self.reader, self.shuffle = reader, shuffle
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._reading: dict[Group, Future[None]] = {}

    def wait_for(self, positions: range) -> None:
        """Return when the groups of these positions are read, and go on with the one after."""
        needed = [self.shuffle.group_at(position) for position in (positions[0], positions[-1])]
        following = self.shuffle.group_after(needed[-1])
        for group in (*needed, following):
            if group not in self._reading:
                self._reading[group] = self._thread.submit(self._read, group)
        for group in set(self._reading) - {*needed, following}:
            del self._reading[group]
        for group in needed:
            self._reading[group].result()

    def _read(self, group: Group) -> None:
        for block in self.shuffle.blocks_of(group):
            self.reader.read_through(block.start, block.stop)


class Stream(IntEnum):
    """Second word of a random generator's seed: streams of one seed never repeat each other."""

    ORDER = 0
    SYMMETRY = 1
    DISCRIMINATOR = 2
    BLOCKS = 3


def random_generator(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """The random numbers of a stream for one step or epoch."""
    return np.random.default_rng((seed, int(stream), number))


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

    Blocks of neighbouring patches come in random order, and each group of blocks is shuffled. So a
    disk reads long runs, and only two groups must fit into memory.

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


Shuffle = FullShuffle | BlockShuffle


class StepSampler(Sampler[list[int]]):
    """The patch pairs of each step, without end; a `batch_sampler` for PyTorch's `DataLoader`.

    Parameters
    ----------
    shuffle : FullShuffle or BlockShuffle
    batch : int
        Patch pairs in a step of this process.
    rank, world_size : int
        The index of this process, and the number of processes that train together.
    first_step : int
        The step at which to start: the number of steps that are done.
    """

    def __init__(
        self,
        shuffle: Shuffle,
        batch: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
    ) -> None:
        self.shuffle, self.batch = shuffle, batch
        self.rank, self.world_size, self.first_step = rank, world_size, first_step

    def __iter__(self) -> Iterator[list[int]]:
        for step in count_from(self.first_step):
            yield self.indices(step).tolist()

    def positions(self, step: int) -> range:
        """Positions of a step's patch pairs in the sequence of all epochs."""
        first = (step * self.world_size + self.rank) * self.batch
        return range(first, first + self.batch)

    def indices(self, step: int) -> NDArray[np.int64]:
        """Numbers of the patch pairs of a step, counted from 0: (batch,).

        A batch may end one epoch and begin the next.
        """
        epochs, places = np.divmod(np.array(self.positions(step)), self.shuffle.count)
        indices = np.empty(self.batch, np.int64)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            indices[inside] = self.shuffle.epoch(int(epoch))[places[inside]]
        return indices

    def random(self, stream: Stream, choices: int, step: int) -> NDArray[np.int64]:
        """A number in range(choices) at random for each patch pair of a step: (batch,)."""
        numbers = random_generator(self.shuffle.seed, stream, step)
        whole = numbers.integers(choices, size=self.world_size * self.batch)
        return whole[self.rank * self.batch : (self.rank + 1) * self.batch]


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


def _fits_into_device(reader: SplitReader, device: torch.device, loader: str) -> bool:
    """Whether all patches go into the memory of the device, for a `loader` setting."""
    if device.type != "cuda" or loader == "mapped":
        return loader == "memory"
    free = torch.cuda.mem_get_info(device)[0]
    if loader == "memory" and reader.nbytes > free:
        raise UsageError(
            f"loader is 'memory', but the patches take {reader.nbytes / 1e9:.1f} GB and the GPU "
            f"has {free / 1e9:.1f} GB free; use 'auto'."
        )
    return loader == "memory" or reader.nbytes <= _GPU_SHARE * free


def _warn_if_larger_than_memory(reader: SplitReader) -> None:
    """Say how to train on shards that the file cache cannot hold."""
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if reader.nbytes > memory:
        warn(
            f"The patches take {reader.nbytes / 1e9:.0f} GB, more than this machine's memory "
            f"({memory / 1e9:.0f} GB). If reading them is slow, use --shuffle blocks."
        )


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    found: Any = random_generator(seed, Stream.ORDER, epoch).permutation(count)
    return np.asarray(found, np.int64)


@lru_cache(maxsize=2)
def _block_permutation(shuffle: BlockShuffle, epoch: int) -> NDArray[np.int64]:
    random = random_generator(shuffle.seed, Stream.ORDER, epoch)
    parts = [
        random.permutation(np.concatenate([np.arange(b.start, b.stop) for b in blocks]))
        for blocks in _groups(shuffle, epoch)
    ]
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _groups(shuffle: BlockShuffle, epoch: int) -> list[list[range]]:
    starts = range(0, shuffle.count, shuffle.block)
    shuffled = random_generator(shuffle.seed, Stream.BLOCKS, epoch).permutation(len(starts))
    blocks = [
        range(starts[n], min(starts[n] + shuffle.block, shuffle.count)) for n in shuffled.tolist()
    ]
    return [blocks[n : n + shuffle.blocks] for n in range(0, len(blocks), shuffle.blocks)]
