"""Random batches of patch pairs, as they are stored: the files cold, and in the cache."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from comparison.effort import Effort
from comparison.stores import BATCH, jpeg_folders
from comparison.tables import LESS, MORE, Column, Row, Table
from dpedkit.images import read_photo
from dpedkit.shards import open_split

COLD_SECONDS = 0.2
Gather = Callable[[NDArray[np.int64]], object]

GATHER_NOTE = (
    "Warm is by processor time; cold is by the clock, the files dropped from the cache before, "
    "where the system allows that. *One file, mapped by numpy* is the same choice of rows without "
    "dpedkit: what it loses to arrays in memory is the machine's part, the rest is dpedkit's."
)


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


def from_numpy_maps(home: Path) -> Gather:
    phone, dslr = (np.load(home / f"{side}.npy", mmap_mode="r") for side in ("phone", "dslr"))
    return lambda batch: (phone[batch], dslr[batch])


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
    folders = jpeg_folders(home / "loose")

    def gather(batch: NDArray[np.int64]) -> object:
        return [
            np.stack([read_photo(folder / f"{number}.jpg") for number in batch])
            for folder in folders
        ]

    return gather


MAPPED, MEMORY = "dpedkit, mapped shards", "arrays in memory"
WAYS: dict[str, tuple[Callable[[Path], Gather], tuple[str, ...]]] = {
    MAPPED: (from_mapped_shards, ("shards",)),
    "dpedkit, mapped, announced a batch ahead": (from_announced_shards, ("shards",)),
    "dpedkit, compressed shards": (from_compressed_shards, ("compressed",)),
    MEMORY: (from_memory, ()),
    "one file, mapped by numpy": (from_numpy_maps, ("phone.npy", "dslr.npy")),
    "h5py, fancy indexing": (from_h5py, ("shards",)),
    "loose JPEGs": (from_jpegs, ("loose",)),
}
_WHY_GATHER = {
    MEMORY: {
        "warm, pairs/s": "It has everything in memory, in one array, and only copies.",
    },
    "one file, mapped by numpy": {
        "warm, pairs/s": (
            "numpy chooses the rows of one file in one call; dpedkit first finds in which shard "
            "each pair is."
        ),
    },
    "loose JPEGs": {
        "MB": "JPEG loses detail, and differs from the pixels that were aligned.",
        "cold, pairs/s": (
            "Each JPEG is a file of its own, and the system does not read beyond its end."
        ),
    },
    "h5py, fancy indexing": {
        "cold, pairs/s": (
            "It reads the bytes of each patch and no more; of a mapped file the system reads "
            "megabytes around each patch that is not announced."
        ),
    },
    "dpedkit, mapped, announced a batch ahead": {
        "cold, pairs/s": "The disk is told of a whole batch at once; training does this always.",
    },
    "dpedkit, compressed shards": {
        "MB": "Compressed patches are smaller and slow to read.",
        "cold, pairs/s": (
            "Both patches of a pair lie side by side in the file, so that what the system reads "
            "around the first one contains the second."
        ),
    },
}


def compare_gathering(home: Path, effort: Effort) -> Table:
    """Random batches from each store, by turns, warm and cold."""
    gathers = {name: way(home) for name, (way, _) in WAYS.items()}
    count = effort.patches
    cold, warm = {}, {name: list[float]() for name in WAYS}
    for name, gather in gathers.items():
        drop_from_cache(home)
        clock = time.perf_counter
        cold[name] = pairs_per_second(gather, batches(count, 1), COLD_SECONDS, clock)
    for turn in range(4 * effort.rounds):
        for name, gather in gathers.items():
            seconds = effort.probe_seconds / 4
            found = pairs_per_second(gather, batches(count, turn), seconds, time.thread_time)
            warm[name].append(found)
    rows = []
    for name, (_, places) in WAYS.items():
        size = sum(megabytes(home / place) for place in places)
        share = statistics.median(
            one / memory for one, memory in zip(warm[name], warm[MEMORY], strict=True)
        )
        values = (
            size if places else None,
            cold[name] if places else None,
            statistics.median(warm[name]),
            share,
        )
        rows.append(Row(name, values, _WHY_GATHER.get(name, {})))
    columns = (
        Column("MB", LESS, ",.0f"),
        Column("cold, pairs/s", MORE, ",.0f"),
        Column("warm, pairs/s", MORE, ",.0f"),
        Column("of memory", form=".0%"),
    )
    title = f"Random batches of {BATCH} from {count:,} patch pairs"
    return Table(title, columns, tuple(rows), MAPPED, (GATHER_NOTE,))


def drop_from_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def megabytes(place: Path) -> float:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def batches(count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.integers(0, count, BATCH)


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
