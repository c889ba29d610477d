"""A photo through the paper's network: in strips, beside one call on the whole photo."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from comparison.effort import Effort
from comparison.tables import LESS, NEITHER, Column, Row, Table

OURS, WHOLE = "dpedkit, in strips", "model(photo), the whole at once"
ROUNDS = 3

# In a process of its own: peak memory is that of a process.
RUN = """
import sys, time
from pathlib import Path
import torch
from dpedkit.core.process import keep_freed_memory, own_process
from dpedkit.enhancement.network import enhance_photo
from dpedkit.enhancement.storage import Placement
from dpedkit.models.build import build_generator
way, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
model = build_generator("resnet-12-64", norm="instance").eval()
photo = torch.rand(1, 3, height, width)
if way == "strips":
    own_process()
    keep_freed_memory()
    model.to(memory_format=torch.channels_last)
    run = lambda: enhance_photo(model, photo, Placement())
else:
    run = lambda: model(photo)
def high_water():
    status = Path("/proc/self/status")
    # getrusage would count the parent's memory, too
    return int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists() else 0
with torch.inference_mode():
    clock, processor = time.perf_counter(), time.process_time()
    result = run()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
print(clock, processor, high_water(), result.double().mean().item())
"""

TITLE = "Enhancement"
NOTE = (
    "The paper's resnet-12-64 (instance norm, random weights), each run in a process of its own, "
    "by turns, all cores. The largest run decides which photos a machine can enhance: the memory "
    "of the whole call grows with the photo, that of the strips stops at a limit."
)


@dataclass(frozen=True)
class Run:
    """Seconds by the clock and of processor time, kB at most, and the mean of the result."""

    clock: float
    processor: float
    memory: int
    mean: float


COPIES = "Strips are copied out of the stored maps of each layer and back."


def compare(effort: Effort) -> Iterator[Table]:
    """A table for each size."""
    for megapixels in effort.photo_megapixels:
        height = round((megapixels * 1e6 * 3 / 4) ** 0.5 / 4) * 4
        width = round(height * 4 / 3)
        rounds = min(effort.rounds, ROUNDS) if megapixels < 1 else 1
        runs: dict[str, list[Run]] = {OURS: [], WHOLE: []}
        for _ in range(rounds):
            for name, way in ((OURS, "strips"), (WHOLE, "whole")):
                runs[name].append(run(way, width, height))
        area = width * height / 1e6
        rows = tuple(_row(name, done, runs[OURS], area) for name, done in runs.items())
        columns = (
            Column("seconds a MP by the clock", LESS),
            Column("processor seconds a MP", LESS),
            Column("times dpedkit's"),
            Column("peak memory, MB", LESS, ",.0f"),
            Column("difference of the results' means", NEITHER, ".0e"),
        )
        yield Table(f"A photo of {megapixels:g} MP", columns, rows, OURS)


def run(way: str, width: int, height: int) -> Run:
    """Enhance a photo of random pixels once."""
    command = [sys.executable, "-c", RUN, way, str(width), str(height)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    clock, processor, memory, mean = done.stdout.split()
    return Run(float(clock), float(processor), int(memory), float(mean))


def _row(name: str, done: list[Run], ours: list[Run], area: float) -> Row:
    ratios = (one.processor / other.processor for one, other in zip(done, ours, strict=True))
    memory = statistics.median(run.memory for run in done) / 1e3
    values = (
        statistics.median(run.clock for run in done) / area,
        statistics.median(run.processor for run in done) / area,
        statistics.median(ratios),
        memory or None,
        abs(done[0].mean - ours[0].mean),
    )
    why = {
        "seconds a MP by the clock": COPIES,
        "processor seconds a MP": COPIES,
        "peak memory, MB": "The photo is smaller than a few strips.",
    }
    return Row(name, values, why)
