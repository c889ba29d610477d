"""Random batches of patch pairs: from memory, from shards, and as others store and load them."""

from __future__ import annotations

import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count as count_from
from itertools import islice
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from synthetic_shards import Patches, write_shards
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from comparison import peers
from comparison.effort import Effort
from comparison.tables import LESS, MORE, Column, Row, Table
from comparison.turns import processor_seconds
from dpedkit.core.console import QUIET, set_verbosity
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

SIZE, BATCH = 100, 50
TARS = 4  # divided among the workers
COLD_SECONDS = 0.2
Gather = Callable[[NDArray[np.int64]], object]

GATHER_NOTE = (
    "Warm is by processor time; cold is by the clock, the files dropped from the cache before, "
    "where the system allows that. *One file, mapped by numpy* is the same choice of rows without "
    "dpedkit: what it loses to arrays in memory is the machine's part, the rest is dpedkit's."
)
TITLE = "Loading"
NOTE = (
    "Patch pairs of 100 px, as dpedkit stores them in shards, and as the JPEG files of `dpedkit "
    "shards export`, alone and in tar files."
)
TRAINING_NOTE = (
    "Batches of float32 images, as a training step takes them, in random order; one thread. "
    "Processor time is that of all processes. webdataset shuffles only within a buffer, here of "
    "1,000 pairs; all others shuffle the whole."
)


def compare(effort: Effort) -> Iterator[Table]:
    """A table of batches as they are stored, and one of batches for training."""
    set_verbosity(QUIET)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        patches = make_patches(effort.patches)
        write_shards(home / "shards", {"train": patches})
        merge_shards([home / "shards"], home / "compressed", MergeConfig(compress=True))
        export_patches(home / "shards", home / "loose", ExportConfig())
        for name, side in zip(("phone", "dslr"), patches, strict=True):
            np.save(home / f"{name}.npy", side)
        write_tars(home / "tars", home / "loose")
        del patches
        yield compare_gathering(home, effort)
        yield compare_for_training(home, effort)


def make_patches(count: int) -> Patches:
    """Smooth random patches with a little noise."""
    rng = np.random.default_rng(0)
    phone = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for patch in phone:
        coarse = rng.uniform(0, 255, (SIZE // 8, SIZE // 8, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        patch[:] = (smooth + rng.normal(0, 1, smooth.shape)).clip(0, 255)
    return phone, 255 - phone


def jpeg_folders(loose: Path) -> list[Path]:
    """Phone and DSLR folders of exported patches."""
    return [loose / "iphone" / "training_data" / side for side in ("iphone", "canon")]


def write_tars(folder: Path, loose: Path) -> None:
    """The exported JPEGs as webdataset has them: files of one pair follow one another."""
    folders = jpeg_folders(loose)
    count = len(list(folders[0].iterdir()))
    folder.mkdir()
    for part in range(TARS):
        with tarfile.open(folder / f"{part}.tar", "w") as tar:
            for number in range(part, count, TARS):
                for side, jpegs in zip(("phone", "dslr"), folders, strict=True):
                    tar.add(jpegs / f"{number}.jpg", f"{number:06d}.{side}.jpg")


# --------------------------------------------------------------------------- as they are stored


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
        "of memory": "It is what is compared with.",
    },
    "one file, mapped by numpy": {
        "warm, pairs/s": (
            "numpy chooses the rows of one file in one call; dpedkit first finds in which shard "
            "each pair is."
        ),
    },
    "loose JPEGs": {
        "MB": "JPEG loses detail, and differs from the pixels that were aligned.",
        "cold, pairs/s": "A JPEG is small, and the system reads ahead within a file.",
    },
    "h5py, fancy indexing": {
        "cold, pairs/s": "It reads from the disk in larger steps; the way below is for that.",
    },
    "dpedkit, mapped, announced a batch ahead": {
        "cold, pairs/s": "The disk is told of a whole batch at once; training does this always.",
    },
    "dpedkit, compressed shards": {"MB": "Compressed patches are smaller and slow to read."},
}


_WHY_TRAINING = {
    "dpedkit, memory": {
        "pairs/s": "It has all patches in the memory of this process from the start.",
        "processor ms a batch": "It copies from memory, and no thread reads ahead.",
    },
    "DataLoader over the shards": dict.fromkeys(
        ("pairs/s", "processor ms a batch", "first batch after s"),
        "It has no thread to hand a batch over, so that a training step waits while it reads.",
    ),
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


# -------------------------------------------------------------------------------- for training


class Jpegs(Dataset[tuple[Tensor, Tensor]]):
    """Patch pairs in two folders of JPEG files, as a tutorial's dataset reads them."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders, self.count = folders, len(list(folders[0].iterdir()))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        phone, dslr = (as_image((folder / f"{index}.jpg").read_bytes()) for folder in self.folders)
        return phone, dslr


def as_image(jpeg: bytes) -> Tensor:
    """Decode to (3, S, S) float32 in [0, 1]."""
    levels = np.array(Image.open(io.BytesIO(jpeg)))
    return torch.from_numpy(levels).permute(2, 0, 1).float() / 255


def by_dpedkit(loader: str) -> Callable[[Path], Iterable[object]]:
    def make(home: Path) -> Iterable[object]:
        dataset = DpedShards(home / "shards", "train")
        config = TrainConfig(batch=BATCH, loader=loader)
        loaded = TrainLoader(config, dataset, torch.device("cpu"))
        return (loaded.load(step) for step in count_from())

    return make


def by_data_loader(workers: int) -> Callable[[Path], Iterable[object]]:
    def make(home: Path) -> Iterable[object]:
        dataset = DpedShards(home / "shards", "train")
        sampler = StepSampler(FullShuffle(0, len(dataset)), BATCH)
        return DataLoader(dataset, batch_sampler=sampler, num_workers=workers)

    return make


def by_jpegs(workers: int) -> Callable[[Path], Iterable[object]]:
    def make(home: Path) -> Iterable[object]:
        dataset = Jpegs(jpeg_folders(home / "loose"))
        return DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, drop_last=True)

    return make


def _decoded(sample: tuple[bytes, bytes]) -> tuple[Tensor, Tensor]:
    phone, dslr = map(as_image, sample)
    return phone, dslr


def by_webdataset(workers: int) -> Callable[[Path], Iterable[object]]:
    webdataset = peers.load("webdataset")

    def make(home: Path) -> Iterable[object]:
        tars = sorted(map(str, (home / "tars").iterdir()))
        dataset = webdataset.WebDataset(tars, shardshuffle=TARS)
        samples = dataset.shuffle(1000).to_tuple("phone.jpg", "dslr.jpg").map(_decoded)
        return DataLoader(samples.batched(BATCH), batch_size=None, num_workers=workers)

    return make


FOR_TRAINING: dict[str, tuple[Callable[[int], Callable[[Path], Iterable[object]]], int]] = {
    "DataLoader over the shards": (by_data_loader, 0),
    "DataLoader over the shards, 2 workers": (by_data_loader, 2),
    "DataLoader over JPEGs": (by_jpegs, 0),
    "DataLoader over JPEGs, 2 workers": (by_jpegs, 2),
    "webdataset, tar of JPEGs": (by_webdataset, 0),
    "webdataset, tar of JPEGs, 2 workers": (by_webdataset, 2),
}
OURS, OURS_MEMORY = "dpedkit, mapped", "dpedkit, memory"


def compare_for_training(home: Path, effort: Effort) -> Table:
    """The same number of batches from each way, by turns: pairs/s, processor time, first wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers of a DataLoader have
    number = max(2, effort.patches // BATCH // 4)
    ways = {OURS: by_dpedkit("mapped"), OURS_MEMORY: by_dpedkit("memory")}
    absent = {}
    for name, (make, workers) in FOR_TRAINING.items():
        try:
            ways[name] = make(workers)
        except peers.AbsentError as reason:
            absent[name] = str(reason)
    turns: dict[str, list[LoadingTurn]] = {name: [] for name in ways}
    for _ in range(effort.rounds):
        for name, way in ways.items():
            turns[name].append(one_turn(way, home, number))
    torch.set_num_threads(before)
    rows = [_training_row(name, done, turns[OURS]) for name, done in turns.items()]
    rows += [Row(name, absent=reason) for name, reason in absent.items()]
    columns = (
        Column("pairs/s", MORE, ",.0f"),
        Column("processor ms a batch", LESS, ".1f", 0.2),
        Column("times dpedkit's"),
        Column("first batch after s", LESS, ".2f", 0.05),
    )
    return Table("Batches for training", columns, tuple(rows), OURS, (TRAINING_NOTE,))


@dataclass(frozen=True)
class LoadingTurn:
    """One go of a loader: pairs a second and the wait for the first batch by the clock, and the
    processor time of a batch, that of starting and ending included, in seconds.
    """

    pairs_per_second: float
    first: float
    processor: float


def one_turn(way: Callable[[Path], Iterable[object]], home: Path, number: int) -> LoadingTurn:
    """Load `number` batches after the first one."""
    processor, began = processor_seconds(), time.perf_counter()
    loader = iter(way(home))
    next(loader)
    first = time.perf_counter()
    for _ in islice(loader, number):
        pass
    rest = time.perf_counter() - first
    del loader  # ends the worker processes, whose time counts from then on
    spent = (processor_seconds() - processor) / (number + 1)
    return LoadingTurn(number * BATCH / rest, first - began, spent)


def _training_row(name: str, turns: list[LoadingTurn], ours: list[LoadingTurn]) -> Row:
    ratios = (one.processor / other.processor for one, other in zip(turns, ours, strict=True))
    values = (
        statistics.median(turn.pairs_per_second for turn in turns),
        statistics.median(turn.processor for turn in turns) * 1e3,
        statistics.median(ratios),
        statistics.median(turn.first for turn in turns),
    )
    return Row(name, values, _WHY_TRAINING.get(name, {}))
