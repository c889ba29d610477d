"""How fast random batches of patch pairs are read, mapped against other ways to store them.

    python benchmarks/loader.py [--patches 8192] [--batch 50]

The same random batches are gathered from arrays in memory, from mapped shards (dpedkit), from
compressed shards, from shards by h5py's fancy indexing, and from loose JPEGs. "cold" drops the
files from the page cache first, where the system allows it, and counts by the clock; "warm" counts
processor time, so that other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray
from synthetic_shards import Patches, write_shards

from dpedkit.core.console import QUIET, set_verbosity, table
from dpedkit.images import read_photo
from dpedkit.shards import ExportConfig, MergeConfig, export_patches, merge_shards, open_split

SIZE = 100
_GOES = 20
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
    print(table(header, rows))


if __name__ == "__main__":
    main()
