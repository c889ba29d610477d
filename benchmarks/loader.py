"""How fast random batches of patch pairs are read, mapped against other ways to store them.

    python benchmarks/loader.py [--patches 8192] [--batch 50]

The same random batches are gathered from arrays in memory, from mapped shards (dpedkit), from
compressed shards, from shards by h5py's fancy indexing, and from loose JPEGs. "cold" drops the
files from the page cache first, where the system allows it, and counts by the clock; "warm" counts
processor time, so that other work on the machine changes less.

A second table has the batches as training gets them, float32 images in the order of its sampler: by
its own thread that reads a batch ahead, and by PyTorch's `DataLoader` with the same dataset and
sampler.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count as count_from
from itertools import islice
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from synthetic_shards import Patches, write_shards
from torch.utils.data import DataLoader

from dpedkit.core.console import QUIET, set_verbosity, table
from dpedkit.images import read_photo
from dpedkit.shards import (
    DpedShards,
    ExportConfig,
    MergeConfig,
    export_patches,
    merge_shards,
    open_split,
)
from dpedkit.training.config import TrainConfig
from dpedkit.training.data import FullShuffle, StepSampler, TrainLoader

SIZE = 100
_GOES, _TRAINING_GOES = 20, 5
_COLD_SECONDS = 0.2
Gather = Callable[[NDArray[np.int64]], object]


def make_patches(count: int) -> Patches:
    """Smooth random patches with a little noise."""
    rng = np.random.default_rng(0)
    phone = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for patch in phone:
        coarse = rng.uniform(0, 255, (SIZE // 8, SIZE // 8, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        patch[:] = (smooth + rng.normal(0, 1, smooth.shape)).clip(0, 255)
    return phone, 255 - phone


def from_memory(home: Path) -> Gather:
    reader = open_split(home / "shards", "train")
    phone, dslr = reader.gather(range(len(reader)))
    return lambda batch: (phone[batch], dslr[batch])


def from_mapped_shards(home: Path) -> Gather:
    return open_split(home / "shards", "train").gather


def from_announced_shards(home: Path) -> Gather:
    """As training does: the disk is told of a batch while the one before it is used."""
    reader = open_split(home / "shards", "train")
    waiting: list[NDArray[np.int64]] = []

    def gather(batch: NDArray[np.int64]) -> object:
        waiting.append(batch)
        reader.announce(batch)
        return reader.gather(waiting.pop(0) if len(waiting) > 1 else batch)

    return gather


def from_compressed_shards(home: Path) -> Gather:
    return open_split(home / "compressed", "train").gather


def from_h5py(home: Path) -> Gather:
    """h5py wants increasing numbers without repeats, and one shard here holds the first 4,096."""
    file = h5py.File(home / "shards" / "train-00000.h5")

    def gather(batch: NDArray[np.int64]) -> object:
        rows = np.unique(batch % len(file["phone"]))
        return file["phone"][rows], file["dslr"][rows]

    return gather


def from_jpegs(home: Path) -> Gather:
    folder = home / "loose" / "iphone" / "training_data"

    def gather(batch: NDArray[np.int64]) -> object:
        return [
            np.stack([read_photo(folder / side / f"{number}.jpg") for number in batch])
            for side in ("iphone", "canon")
        ]

    return gather


WAYS = {
    "arrays in memory": (from_memory, ""),
    "mapped shards (dpedkit)": (from_mapped_shards, "shards"),
    "mapped, announced a batch ahead": (from_announced_shards, "shards"),
    "compressed shards (dpedkit)": (from_compressed_shards, "compressed"),
    "h5py fancy indexing": (from_h5py, "shards"),
    "loose JPEGs": (from_jpegs, "loose"),
}


def by_training(dataset: DpedShards, batch: int) -> Iterable[object]:
    config = TrainConfig(batch=batch, loader="mapped")
    loader = TrainLoader(config, dataset, torch.device("cpu"))
    return map(loader.load, count_from())


def by_data_loader(workers: int) -> Callable[[DpedShards, int], Iterable[object]]:
    def loader(dataset: DpedShards, batch: int) -> Iterable[object]:
        sampler = StepSampler(FullShuffle(0, len(dataset)), batch)
        return DataLoader(dataset, batch_sampler=sampler, num_workers=workers)

    return loader


TRAINING_WAYS = {
    "thread that reads ahead (dpedkit)": by_training,
    "DataLoader in the same process": by_data_loader(0),
    "DataLoader, 1 worker process": by_data_loader(1),
    "DataLoader, 2 worker processes": by_data_loader(2),
}


def training_rows(shards: Path, batch: int, count: int) -> Iterator[tuple[str, ...]]:
    """Of each way: pairs a second by the clock, processor time, and the wait for the first batch.

    Everything has one thread, as the worker processes of a DataLoader have.
    """
    torch.set_num_threads(1)
    dataset = DpedShards(shards, "train")
    best = dict.fromkeys(TRAINING_WAYS, (float("inf"),) * 3)
    for _ in range(_TRAINING_GOES):  # by turns
        for name, way in TRAINING_WAYS.items():
            cpu, began = processor_seconds(), time.perf_counter()
            loader = iter(way(dataset, batch))
            next(loader)
            first = time.perf_counter() - began
            for _ in islice(loader, count - 1):
                pass
            spent = time.perf_counter() - began
            del loader  # ends the worker processes, whose time counts from then on
            found = (spent / count, (processor_seconds() - cpu) / count, first)
            best[name] = tuple(map(min, best[name], found))
    for name, (seconds, cpu, first) in best.items():
        yield name, f"{batch / seconds:,.0f}", f"{cpu * 1e3:.1f}", f"{first:.2f}"


def processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def drop_from_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def batches(count: int, batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.integers(0, count, batch)


def pairs_per_second(
    gather: Gather,
    chosen: Iterator[NDArray[np.int64]],
    seconds: float,
    clock: Callable[[], float],
) -> float:
    start, done = clock(), 0
    for batch in chosen:
        gather(batch)
        done += len(batch)
        if (spent := clock() - start) > seconds:
            return done / spent
    raise AssertionError("batches never end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patches", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--batches", type=int, default=200, help="for training")
    parser.add_argument("--seconds", type=float, default=4, help="for each measurement")
    arguments = parser.parse_args()
    set_verbosity(QUIET)
    count, batch = arguments.patches, arguments.batch
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_shards(home / "shards", {"train": make_patches(count)})
        merge_shards([home / "shards"], home / "compressed", MergeConfig(compress=True))
        export_patches(home / "shards", home / "loose", ExportConfig())
        gathers = {name: way(home) for name, (way, _) in WAYS.items()}
        cold = {}
        for name, gather in gathers.items():
            drop_from_cache(home)
            chosen = batches(count, batch, seed=1)
            cold[name] = pairs_per_second(gather, chosen, _COLD_SECONDS, time.perf_counter)
        warm: dict[str, list[float]] = {name: [] for name in WAYS}
        for go in range(_GOES):  # by turns, so that other work on the machine hits all alike
            for name, gather in gathers.items():
                chosen = batches(count, batch, seed=go)
                seconds = arguments.seconds / _GOES
                warm[name].append(pairs_per_second(gather, chosen, seconds, time.thread_time))
        sizes = {name: megabytes(home / place) for name, (_, place) in WAYS.items() if place}
        for_training = list(training_rows(home / "shards", batch, arguments.batches))
    memory = np.array(warm["arrays in memory"])
    rows = [
        (
            name,
            f"{sizes[name]:.0f}" if name in sizes else "-",
            f"{cold[name]:,.0f}" if name in sizes else "-",
            f"{max(rates):,.0f}",
            f"{np.median(rates / memory):.0%}",
        )
        for name, rates in warm.items()
    ]
    title = f"{count} patch pairs, random batches of {batch}"
    header = (title, "MB", "cold /s", "warm /s", "of memory, by turns")
    print(table(header, rows), end="\n\n")
    header = ("batches for training", "pairs /s", "CPU ms a batch", "first after s")
    print(table(header, for_training))


if __name__ == "__main__":
    main()
