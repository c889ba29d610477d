"""Processes that train one network together, as `torchrun` starts them.

Each has its part of every batch; gradients are averaged, so that all hold the same networks. Only
the first one writes files and prints messages. If one fails, all end, and that one says why.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dpedkit.core.errors import EXIT_FAILED, EXIT_INTERRUPTED, DpedkitError, UsageError

T = TypeVar("T")
_FAILURE_KEY = "dpedkit/failure"
_PATIENCE = timedelta(hours=1)  # the first process may have weights to download, or to measure
_GRACE_S = 5.0  # for the process that failed to say why


class Processes:
    """The processes of a run as seen by one of them; with only one, every method is trivial.

    Attributes
    ----------
    rank, count : int
        The index of this process, and their number.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and prints messages."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """This process's part of a batch.

        Raises
        ------
        UsageError
            If the batch cannot be divided equally.
        """
        if batch % self.count:
            raise UsageError(
                f"batch is {batch}, which {self.count} processes cannot divide equally; use "
                f"{batch // self.count * self.count or self.count}, or another number of processes."
            )
        return batch // self.count

    def wrap(self, network: nn.Module, *example: Tensor) -> nn.Module:
        """A network whose gradients are averaged over the processes as they arise.

        Parameters
        ----------
        network : nn.Module
        *example : tensor
            What it may be called with; alone, it is not called.
        """
        if self.count == 1:
            return network
        synced = nn.parallel.DistributedDataParallel(network)
        # After its first backward pass DDP lays out anew in which order it sums. That pass is done
        # here, so that a resumed run adds numbers in the same order as one that never stopped.
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        for _ in range(2):
            outputs = synced(*example)
            parts = outputs if isinstance(outputs, tuple) else (outputs,)
            torch.stack([part.sum() for part in parts]).sum().backward()
        network.zero_grad()
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])
        return synced

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes, the same in all of them."""
        if self.count == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.count

    def any(self, flags: list[bool], device: torch.device) -> list[bool]:
        """Each flag that is set in some process, the same in all of them."""
        if self.count == 1:
            return flags
        total = torch.tensor(flags, dtype=torch.int32, device=device)
        dist.all_reduce(total, dist.ReduceOp.MAX)
        return [bool(flag) for flag in total.tolist()]

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them."""
        if self.count == 1:
            return make()
        box = [make() if self.is_first else None]
        dist.broadcast_object_list(box)
        made: T = box[0]  # type: ignore[assignment]
        return made

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


def local_device(device: torch.device) -> torch.device:
    """The GPU of this process among those of its machine; other devices as they are."""
    if device.type != "cuda":
        return device
    local = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if local.index >= torch.cuda.device_count():
        raise UsageError(
            f"There are more processes than GPUs on this machine ({torch.cuda.device_count()}); "
            "lower --nproc-per-node."
        )
    torch.cuda.set_device(local)
    return local


@contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """Join the other processes of the run, if `torchrun` started any.

    Parameters
    ----------
    device : torch.device
        GPUs exchange gradients by NCCL, processors by gloo.

    Raises
    ------
    DpedkitError
        In the process that fails first, and in no other: they end in silence.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    processes = Processes(int(os.environ["RANK"]), count)
    if not processes.is_first:
        logging.getLogger("dpedkit").setLevel(logging.ERROR)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    store = dist.distributed_c10d._get_default_store()
    try:
        yield processes
        dist.barrier()
    except KeyboardInterrupt:
        if processes.is_first:
            raise
        sys.exit(EXIT_INTERRUPTED)
    except DpedkitError as error:
        raise _first_to_fail(store, processes, error) from None
    except RuntimeError as error:
        if not _is_cut_off(error):
            raise
        if _failed_elsewhere(store):
            sys.exit(EXIT_FAILED)
        raise _first_to_fail(store, processes, DpedkitError(_CUT_OFF)) from None
    finally:
        dist.destroy_process_group()


_CUT_OFF = (
    "Another process of this run exited unexpectedly (killed or out of memory); --resume continues "
    "from the last checkpoint."
)


def _is_cut_off(error: RuntimeError) -> bool:
    """Whether an exchange failed, rather than torch itself."""
    return isinstance(error, dist.DistError) or "onnection" in str(error)


def _first_to_fail(store: dist.Store, processes: Processes, error: DpedkitError) -> DpedkitError:
    """The error, if this process is the first to fail; another's ends this one in silence."""
    try:
        first = store.add(_FAILURE_KEY, 1) == 1
    except dist.DistError:  # the process that kept the store is gone
        first = True
    if not first:
        sys.exit(EXIT_FAILED)
    if not processes.is_first:
        error.args = (f"process {processes.rank} of {processes.count}: {error}",)
    return error


def _failed_elsewhere(store: dist.Store) -> bool:
    """Whether another process says within a moment that it failed."""
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline:
        try:
            if store.add(_FAILURE_KEY, 0) > 0:
                return True
        except dist.DistError:
            return False
        time.sleep(0.05)
    return False
