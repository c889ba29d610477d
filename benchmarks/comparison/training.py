"""A training step of the paper's network on a CPU, beside a plain port of the authors' loop.

All take the step with VGG-19 in float32. "The same as the authors'" does exactly what the plain
port does, with these differences:

- VGG-19's features of the DSLR patches are computed once for all steps, not in each;
- maps lie in channels-last memory, instance norm and ReLU are one operation, Adam is fused;
- freed memory is kept for the next step, instead of being returned to the system and zeroed again;
- patches are read from mapped shards ahead of time by a thread, instead of by worker processes.

"Output reused" also shows the discriminator the patches that the generator has just enhanced,
instead of enhancing others: another schedule than the authors', dpedkit's default.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from training_steps import AUTHORS, flops_of, our_way, plain_way, write_patches

from comparison.effort import Effort
from comparison.tables import LESS, Column, Row, Table
from comparison.turns import Cost, cost_of, manage_memory_as_ever, median_cost
from dpedkit.core.console import QUIET, set_verbosity
from dpedkit.core.process import keep_freed_memory, own_process
from dpedkit.core.wording import counted

CPU = torch.device("cpu")
OURS, PLAIN = "the same as the authors'", "plain PyTorch port"
PAIRS = 64
STEPS = 2  # in a turn

TITLE = "Training step"
NOTE = (
    "The paper's generator and discriminator with VGG-19 (random weights: time does not depend on "
    "them) in float32, all cores. *The same as the authors'* is the step of their code: separate "
    "batches for both networks, VGG-19's features of the DSLR patches kept. *Output reused* is the "
    "default schedule: the discriminator sees what the generator has just enhanced."
)


def compare(effort: Effort) -> Iterator[Table]:
    """One table."""
    set_verbosity(QUIET)
    own_process()
    exact = replace(AUTHORS, batch=effort.batch)
    kept = replace(exact, cache_features=True)
    configs = {
        OURS: kept,
        "the same, features not kept": exact,
        "output reused": replace(kept, separate_batches=False),
    }
    with tempfile.TemporaryDirectory() as scratch:
        pairs = min(PAIRS, 4 * effort.batch)
        shards = write_patches(Path(scratch) / "shards", pairs, effort.patch_size)
        ways = {name: our_way(shards, config, CPU, 1) for name, config in configs.items()}
        ways[PLAIN] = plain_way(shards, effort.batch, CPU)
        costs: dict[str, list[Cost]] = {name: [] for name in ways}
        for turn in range(effort.rounds + 1):
            for name, way in ways.items():
                (manage_memory_as_ever if name == PLAIN else keep_freed_memory)()

                def steps(step=way.step) -> None:
                    for _ in range(STEPS):
                        step()

                cost = cost_of(steps)
                if turn:  # the first warms up
                    costs[name].append(cost)
        work = {name: flops_of(way) / effort.batch / 1e9 for name, way in ways.items()}
    rows = tuple(_row(name, spent, costs[OURS], work[name]) for name, spent in costs.items())
    columns = (
        Column("ms a step by the clock", LESS, ",.0f"),
        Column("processor ms", LESS, ",.0f"),
        Column("times dpedkit's"),
        Column("GFLOP an image", form=".1f"),
    )
    threads = counted(torch.get_num_threads(), "thread")
    title = f"{effort.batch} pairs of {effort.patch_size} px, {threads}"
    yield Table(title, columns, rows, OURS)


def _row(name: str, spent: list[Cost], ours: list[Cost], work: float) -> Row:
    cost = median_cost(spent)
    ratio = statistics.median(
        one.clock / other.clock for one, other in zip(spent, ours, strict=True)
    )
    less_work = "It is dpedkit's default schedule: one forward pass of the generator less."
    why = {"ms a step by the clock": less_work, "processor ms": less_work}
    values = (cost.clock / STEPS * 1e3, cost.processor / STEPS * 1e3, ratio, work)
    return Row(name, values, why if name == "output reused" else {})
