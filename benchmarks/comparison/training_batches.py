"""Batches of float32 images, as a training step takes them, by dpedkit's loaders and by others."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count as count_from
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from comparison import peers
from comparison.effort import Effort
from comparison.stores import BATCH, TARS, jpeg_folders
from comparison.tables import LESS, MORE, Column, Row, Table
from comparison.turns import one_thread_of_torch, processor_seconds
from dpedkit.shards import DpedShards
from dpedkit.training.config import TrainConfig
from dpedkit.training.data import FullShuffle, StepSampler, TrainLoader

TRAINING_NOTE = (
    "Batches of float32 images, as a training step takes them, in random order; one thread. "
    "Processor time is that of all processes. webdataset shuffles only within a buffer, here of "
    "1,000 pairs; all others shuffle the whole."
)
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
    number = max(2, effort.patches // BATCH // 4)
    ways = {OURS: by_dpedkit("mapped"), OURS_MEMORY: by_dpedkit("memory")}
    absent = {}
    for name, (make, workers) in FOR_TRAINING.items():
        try:
            ways[name] = make(workers)
        except peers.AbsentError as reason:
            absent[name] = str(reason)
    turns: dict[str, list[LoadingTurn]] = {name: [] for name in ways}
    with one_thread_of_torch():
        for _ in range(effort.rounds):
            for name, way in ways.items():
                turns[name].append(one_turn(way, home, number))
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
