"""How the patches of a step get to the device: from its own memory, or from mapped files.

The choice changes how fast the same patches come, never which. Files are opened by the process
and the thread that read them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.core.console import warn
from dpedkit.core.errors import UsageError
from dpedkit.shards.reader import SplitReader
from dpedkit.train.order import BlockShuffle, Group

Pixels = tuple[Tensor, Tensor]
"""Phone and DSLR patches on the device: (B, S, S, 3) uint8 each."""

_GPU_SHARE = 0.5  # of the free memory of a GPU; the networks need the rest
_COPY = 512  # patch pairs on their way to the device at once
Result = TypeVar("Result")


class Loader(Protocol):
    """Brings patch pairs to the device by their numbers."""

    def load(self, indices: NDArray[np.int64]) -> Pixels: ...


def make_loader(reader: SplitReader, device: torch.device, wanted: str) -> Loader:
    """The loader of a `loader` setting: "memory", "mapped", or "auto" for the faster one.

    Raises
    ------
    UsageError
        If all patches are wanted in the memory of a GPU that is too small.
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        if wanted == "memory" and reader.nbytes > free:
            raise UsageError(
                f"loader is 'memory', but the patches take {reader.nbytes / 1e9:.1f} GB and the "
                f"GPU has {free / 1e9:.1f} GB free; leave it at 'auto'."
            )
        if wanted == "auto" and reader.nbytes <= _GPU_SHARE * free:
            wanted = "memory"
    return InMemory(reader, device) if wanted == "memory" else Mapped(reader, device)


class InMemory:
    """All patches of a split in the memory of the device, as they are on disk."""

    def __init__(self, reader: SplitReader, device: torch.device) -> None:
        self.device = device
        shape = (len(reader), reader.patch_size, reader.patch_size, 3)
        self.phone, self.dslr = (
            torch.empty(shape, dtype=torch.uint8, device=device) for _ in range(2)
        )
        for start in range(0, len(reader), _COPY):
            rows = slice(start, min(start + _COPY, len(reader)))
            phone, dslr = reader.gather(range(rows.start, rows.stop))
            self.phone[rows] = torch.from_numpy(phone).to(device)
            self.dslr[rows] = torch.from_numpy(dslr).to(device)

    def load(self, indices: NDArray[np.int64]) -> Pixels:
        chosen = torch.from_numpy(indices).to(self.device)
        return self.phone.index_select(0, chosen), self.dslr.index_select(0, chosen)


class Mapped:
    """Patches copied from the mapped shards when they are asked for."""

    def __init__(self, reader: SplitReader, device: torch.device) -> None:
        self.reader, self.device = reader, device

    def load(self, indices: NDArray[np.int64]) -> Pixels:
        side = self.reader.patch_size
        # A GPU fetches from pinned memory while the processor goes on. PyTorch keeps such memory
        # for the next batch, once the copy is done.
        pinned = self.device.type == "cuda"
        phone, dslr = (
            torch.empty((len(indices), side, side, 3), dtype=torch.uint8, pin_memory=pinned)
            for _ in range(2)
        )
        self.reader.gather(indices, out=(phone.numpy(), dslr.numpy()))
        return phone.to(self.device, non_blocking=True), dslr.to(self.device, non_blocking=True)

    def announce(self, indices: NDArray[np.int64]) -> None:
        """Have the disk read what the next `load` will want."""
        self.reader.announce(indices)


class Ahead(Generic[Result]):
    """Does the work for the next step in a thread while this one's result is used."""

    def __init__(self, work: Callable[[int], Result]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._step, self._next = -1, Future[Result]()

    def at(self, step: int) -> Result:
        """The work's result for a step; fastest when steps are asked for one after the other."""
        if step != self._step:
            self._next = self._thread.submit(self._work, step)
        result = self._next.result()
        self._step, self._next = step + 1, self._thread.submit(self._work, step + 1)
        return result


class GroupReadAhead:
    """Brings the groups of a block shuffle into the system's file cache, one before it is needed.

    Blocks are read from end to end, which any disk does at its full speed.
    """

    def __init__(self, reader: SplitReader, order: BlockShuffle) -> None:
        self.reader, self.order = reader, order
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._reading: dict[Group, Future[None]] = {}

    def wait_for(self, positions: range) -> None:
        """Return when the groups of these positions are read, and go on with the one after."""
        needed = [self.order.group_at(position) for position in (positions[0], positions[-1])]
        following = self.order.group_after(needed[-1])
        for group in (*needed, following):
            if group not in self._reading:
                self._reading[group] = self._thread.submit(self._read, group)
        for group in set(self._reading) - {*needed, following}:
            del self._reading[group]
        for group in needed:
            self._reading[group].result()

    def _read(self, group: Group) -> None:
        for block in self.order.blocks_of(group):
            self.reader.read_through(block.start, block.stop)


def warn_if_larger_than_memory(reader: SplitReader) -> None:
    """Say how to train on shards that the file cache cannot hold."""
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if reader.nbytes > memory:
        warn(
            f"The patches take {reader.nbytes / 1e9:.0f} GB, more than this machine's memory "
            f"({memory / 1e9:.0f} GB). If reading them is slow, use --shuffle blocks."
        )
