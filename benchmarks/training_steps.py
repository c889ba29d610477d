"""What the training benchmarks share: patches, networks, and the steps that are timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baselines.plain_port import PlainPort, PlainVgg
from synthetic_shards import Patches, write_shards
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from dpedkit.models.vgg import LAYERS, VGG19, Convolutions, VGG19Weights
from dpedkit.shards import DpedShards, open_split
from dpedkit.training.config import TrainConfig
from dpedkit.training.data import TrainLoader
from dpedkit.training.distributed import Processes
from dpedkit.training.objective import Objective
from dpedkit.training.state import TrainingState
from dpedkit.training.step import GraphedStep, RunningMeans, TrainingStep

AUTHORS = TrainConfig(
    generator="resnet-12-64",
    norm="instance",
    losses="authors",
    content="vgg19",
    content_weight=10.0,
    texture_weight=1.0,
    colour_weight=0.5,
    tv_weight=2000.0,
    batch=50,
    separate_batches=True,
)


def random_vgg(seed: int = 0) -> Convolutions:
    """VGG-19 with random weights: time does not depend on their values."""
    random = torch.Generator().manual_seed(seed)
    convolutions, inputs = [], 3
    for channels in (layer for layer in LAYERS if layer != "pool"):
        std = (2 / (inputs * 9)) ** 0.5
        kernel = std * torch.randn(channels, inputs, 3, 3, generator=random)
        convolutions.append((kernel, torch.zeros(channels)))
        inputs = channels
    return convolutions


def write_patches(folder: Path, count: int, size: int, val: int = 0) -> Path:
    """A shards folder of random pictures, and of the same with other colours and less noise."""
    counts = {"train": count, "val": val}
    return write_shards(
        folder,
        {
            split: _patch_pairs(patches, size, seed)
            for seed, (split, patches) in enumerate(counts.items())
            if patches
        },
    )


def _patch_pairs(count: int, size: int, seed: int) -> Patches:
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, size // 4 + 1, size // 4 + 1, 3), np.float32)
    scene = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :size, :size]
    noise = 0.02 * rng.standard_normal(scene.shape, np.float32)
    phone = np.clip(0.15 + 0.6 * scene + noise, 0, 1)
    dslr = scene**1.3 * np.array([1.0, 0.9, 0.8], np.float32)
    return (phone * 255).astype(np.uint8), (dslr * 255).astype(np.uint8)


def write_vgg(path: Path) -> Path:
    """Random weights of VGG-19 as a file of torchvision's form."""
    state, position, convolutions = {}, 0, iter(random_vgg())
    for layer in LAYERS:
        if layer != "pool":
            names = (f"features.{position}.{kind}" for kind in ("weight", "bias"))
            state |= dict(zip(names, next(convolutions), strict=True))
        position += 1 if layer == "pool" else 2
    torch.save(state, path)
    return path


@dataclass
class Way:
    """One way to train: `step` does one step and reads its numbers, `waited` says for how long.

    Attributes
    ----------
    prepare : callable
        Sets what holds for the whole process, before each turn of this way.
    compute : callable
        The work of one step, to be counted.
    state : TrainingState or None
        What dpedkit's ways change.
    """

    step: Callable[[], None]
    waited: Callable[[], float]
    compute: Callable[[], Any]
    prepare: Callable[[], None] = lambda: None
    state: TrainingState | None = None


def plain_way(shards: Path, batch: int, device: torch.device) -> Way:
    """The plain port, its numbers read in every step."""
    reader = open_split(shards, "train")
    phone, dslr = reader.gather(range(len(reader)))
    port = PlainPort(phone, dslr, batch, PlainVgg(random_vgg(), LAYERS), device)
    waited = 0.0

    def step() -> None:
        nonlocal waited
        began = time.perf_counter()
        data = port.draw()
        waited += time.perf_counter() - began
        port.step(*data)

    return Way(step, lambda: waited, lambda: port.step(*port.draw()))


def our_way(shards: Path, config: TrainConfig, device: torch.device, read_every: int) -> Way:
    """dpedkit's own step and loader, its numbers read as its loop reads them."""
    dataset = DpedShards(shards, "train")
    weights = VGG19Weights(random_vgg(), 255.0, (117.0,) * 3, (1.0,) * 3, "random")
    vgg = VGG19(weights).to(device=device, memory_format=torch.channels_last)
    objective = Objective(config, vgg)
    state = TrainingState(config, dataset.reader, device)
    loader = TrainLoader(config, dataset, device)
    if config.cache_features:
        loader.keep_features(objective)
    training_step = TrainingStep(config, state, objective, Processes())
    learn = GraphedStep(training_step, device) if config.cuda_graph else training_step
    means = RunningMeans(training_step.columns)
    number = 0

    def step() -> None:
        nonlocal number
        state.begin_step(number)
        means.add(number, learn(loader.batch(number)))
        number += 1
        if number % read_every == 0:
            list(means.read(lambda rows: rows))

    return Way(
        step,
        waited=lambda: loader.waited_s,
        compute=lambda: training_step(loader.batch(number)),
        state=state,
    )


@dataclass(frozen=True)
class Timing:
    """Seconds of a step, and of them spent waiting for patches."""

    seconds: float
    waiting: float


def time_by_turns(
    ways: dict[str, Way], rounds: int, steps: int, wait: Callable[[], None]
) -> dict[str, Timing]:
    """The best of some rounds, in each of which every way has its turn.

    Parameters
    ----------
    ways : dict of str to Way
    rounds, steps : int
        Turns of each way, and steps in a turn.
    wait : callable
        Returns when the device has done what it was given.
    """
    best = {name: Timing(float("inf"), 0.0) for name in ways}
    for go in range(rounds + 1):
        for name, way in ways.items():
            way.prepare()
            waited = way.waited()
            wait()
            began = time.perf_counter()
            for _ in range(steps):
                way.step()
            wait()
            seconds = (time.perf_counter() - began) / steps
            if go > 0 and seconds < best[name].seconds:  # the first round warms up
                best[name] = Timing(seconds, (way.waited() - waited) / steps)
    return best


def flops_of(way: Way) -> int:
    """Floating-point operations of one step, in its convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        way.compute()
    return counter.get_total_flops()


class _Traffic(TorchDispatchMode):
    """Adds up the bytes that operations read and write, as if nothing stayed in a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_flatten((args, kwargs, result))[0] if isinstance(x, Tensor)]
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
        return result


def traffic_of(way: Way) -> int:
    """Bytes that the operations of one step move, each reading and writing all of its tensors."""
    with _Traffic() as traffic:
        way.compute()
    return traffic.bytes


def peak_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Operations a second of a large square matrix product: what a step could reach."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / _best_of(lambda: a @ b, device)


def peak_bandwidth(device: torch.device, size: int) -> float:
    """Bytes a second that copying `size` bytes reads and writes."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _best_of(lambda: target.copy_(source), device)


def synchroniser(device: torch.device) -> Callable[[], None]:
    """Waits for the device; a CPU has always done its work."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def _best_of(work: Callable[[], Any], device: torch.device, times: int = 5) -> float:
    wait, best = synchroniser(device), float("inf")
    for _ in range(times):
        wait()
        began = time.perf_counter()
        work()
        wait()
        best = min(best, time.perf_counter() - began)
    return best
