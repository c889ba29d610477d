"""How fast a training step is on a CPU, beside a plain PyTorch port of the authors' loop.

    python benchmarks/train.py [--batch 8] [--rounds 5] [--threads 2]

All take the step of the paper's network with VGG-19 on patches of 100 px, by turns in one process,
in float32. "authors" does exactly what the plain port does, with these differences:

- VGG-19's features of the DSLR patches are computed once for all steps, not in each;
- maps lie in channels-last memory, instance norm and ReLU are one operation, Adam is fused;
- freed memory is kept for the next step, instead of being returned to the system and zeroed again;
- patches are read from mapped shards ahead of time by a thread, instead of by worker processes.

"output reused" also shows the discriminator the patches that the generator has just enhanced,
instead of enhancing others: another schedule than the authors', dpedkit's default.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from training_steps import (
    AUTHORS,
    flops_of,
    our_way,
    peak_bandwidth,
    peak_flops,
    plain_way,
    synchroniser,
    time_by_turns,
    traffic_of,
    write_patches,
)

from dpedkit.core.console import QUIET, set_verbosity, table
from dpedkit.core.process import keep_freed_memory, own_process

CPU = torch.device("cpu")
_PLAIN = "plain port"
# glibc's malloc.h, and what its dynamic thresholds grow to in a process with large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_DYNAMIC = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}


def manage_memory_as_ever() -> None:
    """Undo `keep_freed_memory` for the plain port's turn."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for parameter, value in _DYNAMIC.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patches", type=int, default=64)
    parser.add_argument("--size", type=int, default=100, help="of a patch, px")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    set_verbosity(QUIET)
    own_process()
    torch.set_num_threads(arguments.threads)
    exact = replace(AUTHORS, batch=arguments.batch)
    kept = replace(exact, cache_features=True)
    configs = {
        "authors": kept,
        "authors, features not kept": exact,
        "output reused": replace(kept, separate_batches=False),
    }
    with tempfile.TemporaryDirectory() as scratch:
        shards = write_patches(Path(scratch) / "shards", arguments.patches, arguments.size)
        ways = {_PLAIN: plain_way(shards, arguments.batch, CPU)}
        ways |= {name: our_way(shards, config, CPU, 1) for name, config in configs.items()}
        for name, way in ways.items():
            way.prepare = manage_memory_as_ever if name == _PLAIN else keep_freed_memory
        timings = time_by_turns(ways, arguments.rounds, 1, synchroniser(CPU))
        work = {name: (flops_of(way), traffic_of(way)) for name, way in ways.items()}
    flops_a_second = peak_flops(CPU, torch.float32, 2048)
    bytes_a_second = peak_bandwidth(CPU, 1 << 28)
    rows = []
    for name, timing in timings.items():
        flops, traffic = work[name]
        rows.append(
            (
                name,
                f"{timing.seconds * 1e3:.0f}",
                f"{arguments.batch / timing.seconds:.1f}",
                f"{timings[_PLAIN].seconds / timing.seconds:.2f}",
                f"{timing.waiting / timing.seconds:.1%}",
                f"{flops / arguments.batch / 1e9:.1f}",
                f"{flops / flops_a_second / timing.seconds:.0%}",
                f"{traffic / arguments.batch / 1e6:.0f}",
                f"{traffic / bytes_a_second / timing.seconds:.0%}",
            )
        )
    header = ("float32", "ms/step", "images/s", "ratio", "waiting", "GFLOP/image", "of the time")
    note = (
        f"batch {arguments.batch}, {arguments.threads} threads; best of {arguments.rounds} "
        "rounds by turns; ratio to the plain port.\n"
        "of the time: what the same operations take at the speed of a large matrix product here "
        f"({flops_a_second / 1e9:.0f} GFLOP/s),\nand what the same bytes take at the speed of a "
        f"large copy ({bytes_a_second / 1e9:.1f} GB/s; caches can beat it)."
    )
    print(table((*header, "MB/image", "of the time"), rows, note))


if __name__ == "__main__":
    main()
