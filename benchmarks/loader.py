"""How fast random batches of patch pairs are read, mapped against other ways to store them.

    python benchmarks/loader.py [--patches 4096] [--batch 50]

The same random batches are gathered from arrays in memory, from mapped shards (dpedkit), from the
same shards by h5py's fancy indexing, and from loose JPEGs. "cold" drops the files from the page
cache first, where the system allows it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dpedkit.atomic import write_json
from dpedkit.console import QUIET, set_verbosity, table
from dpedkit.images import read_photo
from dpedkit.manifest import write_jsonl
from dpedkit.shards import ExportConfig, export_patches, open_split
from dpedkit.shards.format import SHARD_FORMAT, SPLITS, Columns
from dpedkit.shards.index import INDEX_FILE, KIND, PAIRS_FILE
from dpedkit.shards.writer import Source, describe_splits, write_split

SIZE = 100
_GOES = 8
Gather = Callable[[NDArray[np.int64]], object]


def make_shards(folder: Path, count: int) -> Path:
    """A shards folder of `count` random, smooth patch pairs for training."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, SIZE // 4, SIZE // 4, 3), np.uint8)
    patches = coarse.repeat(4, axis=1).repeat(4, axis=2)
    columns: Columns = {
        "phone": patches,
        "dslr": 255 - patches,
        "ncc": np.ones(count, np.float32),
        "xy": np.zeros((count, 2), np.int32),
        "shift": np.zeros((count, 2), np.float32),
        "angle": np.zeros(count, np.float32),
        "shift_error": np.zeros(count, np.float32),
        "pair": np.zeros(count, np.int32),
    }
    folder.mkdir()
    entries = {split: [] for split in SPLITS}
    entries["train"] = write_split(folder, "train", [Source(count, lambda: columns)], SIZE, {})
    write_jsonl(folder / PAIRS_FILE, [{"name": "synthetic", "split": "train"}])
    index = {
        "format": SHARD_FORMAT,
        "kind": KIND,
        "complete": True,
        "patch_size": SIZE,
        "patch_config": {"min_corr": 0.9, "size": SIZE, "correlate": "luma"},
        "splits": describe_splits(entries),
    }
    write_json(folder / INDEX_FILE, index)
    return folder


def from_memory(folder: Path) -> Gather:
    reader = open_split(folder, "train")
    phone, dslr = reader.gather(range(len(reader)))
    return lambda batch: (phone[batch], dslr[batch])


def from_mapped_shards(folder: Path) -> Gather:
    return open_split(folder, "train").gather


def from_h5py(folder: Path) -> Gather:
    """h5py wants increasing numbers without repeats, and one shard here holds the first 4,096."""
    file = h5py.File(folder / "train-00000.h5")

    def gather(batch: NDArray[np.int64]) -> object:
        rows = np.unique(batch % len(file["phone"]))
        return file["phone"][rows], file["dslr"][rows]

    return gather


def from_jpegs(folder: Path) -> Gather:
    home = folder.parent / "loose" / "iphone" / "training_data"

    def gather(batch: NDArray[np.int64]) -> object:
        return [
            np.stack([read_photo(home / side / f"{number}.jpg") for number in batch])
            for side in ("iphone", "canon")
        ]

    return gather


def drop_from_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def batches(count: int, batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.integers(0, count, batch)


def pairs_per_second(gather: Gather, count: int, batch: int, seconds: float, seed: int) -> float:
    start, done = time.perf_counter(), 0
    for chosen in batches(count, batch, seed):
        gather(chosen)
        done += batch
        if (spent := time.perf_counter() - start) > seconds:
            return done / spent
    raise AssertionError("batches never end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patches", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=4, help="for each measurement")
    arguments = parser.parse_args()
    set_verbosity(QUIET)
    ways = {
        "arrays in memory": from_memory,
        "mapped shards (dpedkit)": from_mapped_shards,
        "h5py fancy indexing": from_h5py,
        "loose JPEGs": from_jpegs,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_shards(Path(scratch) / "shards", arguments.patches)
        export_patches(folder, Path(scratch) / "loose", ExportConfig())
        gathers = {name: way(folder) for name, way in ways.items()}
        cold = {}
        for name, gather in gathers.items():
            drop_from_cache(Path(scratch))
            cold[name] = pairs_per_second(gather, arguments.patches, arguments.batch, 0.2, seed=1)
        warm = dict.fromkeys(ways, 0.0)
        for go in range(_GOES):  # by turns, so that other work on the machine hits all alike
            for name, gather in gathers.items():
                seconds = arguments.seconds / _GOES
                rate = pairs_per_second(gather, arguments.patches, arguments.batch, seconds, go)
                warm[name] = max(warm[name], rate)
    memory = warm["arrays in memory"]
    rows = [
        (
            name,
            "-" if name == "arrays in memory" else f"{cold[name]:,.0f}",
            f"{rate:,.0f}",
            f"{100 * rate / memory:.0f}%",
        )
        for name, rate in warm.items()
    ]
    header = ("random batches, pairs/s", "cold", "warm", "of memory")
    print(table(header, rows))


if __name__ == "__main__":
    main()
