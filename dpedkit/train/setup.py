"""Makes the parts of a run from its settings and the patches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from dpedkit.core import console
from dpedkit.core.atomic import remove_unfinished_below
from dpedkit.core.device import let_convolutions_round
from dpedkit.core.errors import DpedkitError
from dpedkit.core.parallel import keep_freed_memory
from dpedkit.metrics import MIN_SIDE
from dpedkit.shards.checksums import check_shards
from dpedkit.shards.index import fingerprint
from dpedkit.shards.reader import SplitReader, open_split
from dpedkit.train.config import TrainConfig
from dpedkit.train.content import ContentChoice, choose_content, load_vgg
from dpedkit.train.data import TrainBatches
from dpedkit.train.evaluations import Evaluations
from dpedkit.train.features import keep_features
from dpedkit.train.feed import Feed
from dpedkit.train.learner import Learner
from dpedkit.train.monitor import Monitor
from dpedkit.train.objective import Objective
from dpedkit.train.processes import Processes
from dpedkit.train.runfolder import RunFolder, existing_run, new_run
from dpedkit.train.scalars import ScalarLog


def refuse_damaged_patches(shards: Path, config: TrainConfig) -> None:
    """Compare the patches with their checksums, once on each machine that trains.

    Raises
    ------
    DpedkitError
        If a shard is damaged.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        check_shards(shards, ("train", "val"), verify=config.verify)


def open_train_split(shards: Path) -> SplitReader:
    """The patches to train on.

    Raises
    ------
    DpedkitError
        If there are none, or they are too small.
    """
    reader = open_split(shards, "train")
    if len(reader) == 0:
        raise DpedkitError(
            f"{shards} has no patches to train on; cut some with `dpedkit patches`, with a lower "
            "--min-corr if it found none."
        )
    if reader.patch_size < MIN_SIDE:
        raise DpedkitError(
            f"{shards} has patches of {reader.patch_size} px; training needs at least {MIN_SIDE}."
        )
    return reader


def find_run(
    shards: Path,
    config: TrainConfig,
    processes: int,
    *,
    name: str | None,
    runs: Path,
    resume: bool,
    overwrite: bool,
) -> tuple[RunFolder, ContentChoice]:
    """The folder to begin or to continue a run in, and the run's content loss.

    Raises
    ------
    DpedkitError
        As `dpedkit.train.loop.train`.
    """
    run = existing_run(runs, name) if resume else None
    if run is None:
        run = new_run(runs, name, overwrite)
        if resume:
            console.say(f"{run.path}: there is no such run to continue yet, so it begins")
        return run, choose_content(config)
    content = run.check_same(config, shards)
    if (before := run.processes()) != processes:
        console.warn(
            f"{run.path} was begun by {before} processes and goes on with {processes}: it will not "
            "end exactly as it would have."
        )
    remove_unfinished_below(run.path)
    return run, content


def choose_arithmetic(precision: str, device: torch.device) -> None:
    """Tell torch how to compute: what `TrainConfig.precision` allows, memory kept, fastest kernels.

    Holds for the whole process.
    """
    let_convolutions_round(precision != "float32")
    torch.backends.cudnn.benchmark = True  # all batches have the same size
    if device.type == "cpu":
        keep_freed_memory()


def make_objective(
    config: TrainConfig, content: ContentChoice, processes: Processes, device: torch.device
) -> Objective:
    """The loss, with VGG-19 on the device where it is used."""
    vgg = load_vgg(content, config)
    if vgg is not None:
        vgg.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Objective(config, vgg, processes.count)


def make_feed(
    config: TrainConfig,
    reader: SplitReader,
    objective: Objective,
    processes: Processes,
    device: torch.device,
) -> Feed:
    """This process's part of every step's data.

    Raises
    ------
    UsageError
        If the batch cannot be divided equally.
    """
    batches = TrainBatches(
        reader,
        processes.share(config.batch),
        config.seed,
        config.augment,
        device,
        shuffle=config.shuffle,
        loader=config.loader,
        rank=processes.rank,
        world_size=processes.count,
    )
    features = keep_features(reader, objective, device) if config.cache_features else None
    return Feed(config, batches, features)


def make_evaluations(
    config: TrainConfig,
    shards: Path,
    folder: RunFolder,
    content: ContentChoice,
    learner: Learner,
    objective: Objective,
    scalars: ScalarLog,
) -> Evaluations:
    """How the run is measured: on the val split, or on patches that it trains on without one."""
    before = learner.generator.card  # empty unless the run starts from a model file
    seen = before.get("training", {}).get("shards", [None]) if config.init else []
    training: dict[str, Any] = {
        "config": config.to_dict(),
        "content": content.to_dict(),
        "shards": sorted({fingerprint(shards), *seen}, key=str),
    }
    val = open_split(shards, "val")
    if len(val) == 0:
        console.warn(
            f"{shards} has no val split: evaluations look at patches that are trained on, and "
            "the last network counts as the best. `dpedkit evaluate` tells more."
        )
    reader = val if len(val) else open_split(shards, "train")
    monitor = Monitor(reader, config.evaluate_patches, config.batch, learner.device)
    whole = Objective(config, objective.vgg)  # evaluations are not divided among processes
    return Evaluations(
        folder, learner, whole, monitor, scalars, training, newest_is_best=len(val) == 0
    )
