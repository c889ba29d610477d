"""Ways to do the same, by turns: what each costs in processor time and by the clock.

Other work on the machine changes the clock most and processor time little, and it hits all ways
alike if they take turns. So the medians of several turns are stated, and a ratio is the median of
the ratios within each turn.
"""

from __future__ import annotations

import ctypes
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

# glibc's malloc.h, and what its dynamic thresholds grow to in a process with large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_DYNAMIC = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of processor time of this process and of its finished children."""

    clock: float
    processor: float


def cost_of(work: Callable[[], object]) -> Cost:
    """Do it once."""
    processor, clock = processor_seconds(), time.perf_counter()
    work()
    return Cost(time.perf_counter() - clock, processor_seconds() - processor)


def processor_seconds() -> float:
    """Of all threads of this process and of the processes that it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def by_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Cost]]:
    """Do everything once in each round."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            costs[name].append(cost_of(way))
    return costs


def median_cost(costs: Sequence[Cost]) -> Cost:
    """The medians of both times."""
    return Cost(
        statistics.median(cost.clock for cost in costs),
        statistics.median(cost.processor for cost in costs),
    )


def median_ratio(costs: Sequence[Cost], of: Sequence[Cost]) -> float:
    """How many times the processor time of `of`, the median over the turns."""
    return statistics.median(
        one.processor / other.processor for one, other in zip(costs, of, strict=True)
    )


@contextmanager
def one_thread_of_torch() -> Iterator[None]:
    """PyTorch computes on one thread, as the workers of a `DataLoader` do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def manage_memory_as_ever() -> None:
    """Undo `keep_freed_memory`, which is dpedkit's, for the turn of something else."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for parameter, value in _DYNAMIC.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
