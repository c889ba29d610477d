"""Training in several processes: the same as in one, resumed exactly, ending in one sentence."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from safetensors.torch import load_file

from dpedkit.core.errors import UsageError
from dpedkit.core.manifest import read_jsonl
from dpedkit.models import load_model
from dpedkit.shards import open_split
from dpedkit.training.config import TrainConfig
from dpedkit.training.distributed import Processes
from dpedkit.training.loop import train
from dpedkit.training.state import TrainingState

SIZE = 20
# Each process does several runs one after the other: starting processes takes most of the time.
RUN = """
import os, sys, torch
from pathlib import Path
from dpedkit.core import console
from dpedkit.core.errors import DpedkitError
from dpedkit.training import loop
from dpedkit.training.config import TrainConfig
torch.set_num_threads(1)
step = loop._Run._step
def break_down(self, number):
    if self.processes.rank == 1 and number == break_down.at:
        raise DpedkitError("the disk is gone.")
    step(self, number)
loop._Run._step = break_down
for port, shards, runs, settings, break_down.at in eval(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)
    config = TrainConfig(**settings)
    try:
        with console.shown():
            loop.train(Path(shards), config, name="run", runs=Path(runs), resume=True)
    except DpedkitError as error:
        print(f"error: {error}", file=sys.stderr)
    except SystemExit as silent:
        print(f"ended with {silent.code}", file=sys.stderr)
    print("----", file=sys.stderr, flush=True)
"""
NEVER = -1


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(
        tmp_path_factory.mktemp("data") / "shards",
        {"train": make_patches(12, SIZE, 0), "val": make_patches(6, SIZE, 1)},
    )


def settings(**changes) -> TrainConfig:
    given = {
        "generator": "resnet-8-32",
        "norm": "instance",
        "content": "msssim-l1",
        "steps": 8,
        "batch": 4,
        "augment": True,
        "ema": 0.9,
        "evaluate_every": 4,
        "checkpoint_seconds": 0.0,
        "device": "cpu",
    }
    return TrainConfig(**(given | changes))


def one_against_two(losses: str) -> TrainConfig:
    """Few steps: Adam magnifies the rounding of small gradients, and each network the other's."""
    separate = losses == "authors"
    few = settings(steps=2, evaluate_every=1, losses=losses, clip=1.0, ema=0.0)
    return replace(few, separate_batches=separate)


def start(shards: Path, runs, count: int = 2) -> list[subprocess.Popen]:
    """Processes that train together, in one run after the other: (folder, settings, break at)."""
    work = [(_free_port(), str(shards), str(f), config.to_dict(), at) for f, config, at in runs]
    together = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", RUN, repr(work)],
            env={**os.environ, **together, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def _free_port() -> int:
    """A port that nothing listens at, below those that systems give to whoever asks for any."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def finish(processes) -> list[list[str]]:
    """What each process said in each of its runs."""
    try:
        return [process.communicate(timeout=600)[1].split("----\n")[:-1] for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def ran(shards, tmp_path_factory):
    """The folder of all runs of two processes, and what both said."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        *((folder / losses, one_against_two(losses), NEVER) for losses in ("paper", "authors")),
        (folder / "whole", settings(), NEVER),
        (folder / "cut", settings(), 5),
        (folder / "cut", settings(), NEVER),
    ]
    said = finish(start(shards, runs))
    names = ["paper", "authors", "whole", "cut", "resumed"]
    return folder, [dict(zip(names, parts, strict=True)) for parts in said]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last.safetensors")


@pytest.mark.parametrize("losses", ["paper", "authors"])
def test_two_processes_train_as_one_does_with_the_whole_batch(shards, ran, tmp_path, losses):
    folder, (first, second) = ran
    config = one_against_two(losses)
    train(shards, config, name="run", runs=tmp_path)
    pair = (tmp_path / "run", folder / losses / "run")
    assert "2 processes" in first[losses]
    assert second[losses] == ""
    before = TrainingState(config, open_split(shards, "train"), torch.device("cpu")).generator
    one, two = map(weights, pair)
    apart = moved = 0.0
    for key, value in before.state_dict().items():
        # A bias before a norm changes nothing: its gradient is rounding, which Adam magnifies.
        if not (key.endswith("conv.bias") and key.replace("conv", "norm") in one):
            apart += (one[key] - two[key]).square().sum().item()
            moved += (one[key] - value).square().sum().item()
    assert apart < 1e-3 * moved  # squared: three hundredths of the way
    photo = torch.rand(1, 3, 40, 40)
    outputs = [load_model(run / "last.safetensors")(photo) for run in pair]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-4)
    for a, b in zip(*(read_jsonl(run / "log.jsonl") for run in pair), strict=True):
        known = {key: value for key, value in a.items() if value is not None}
        assert {key: b[key] for key in known} == pytest.approx(known, rel=1e-3, abs=5e-3)


def test_an_error_in_any_process_ends_all_with_one_sentence(ran):
    _, (first, second) = ran
    assert second["cut"] == "error: process 1 of 2: the disk is gone.\n"
    assert "error:" not in first["cut"]
    assert first["cut"].endswith("ended with 1\n")


def test_two_processes_cut_short_and_resumed_end_bit_identical(ran):
    folder, (first, _) = ran
    assert "after step 5" in first["resumed"]
    assert_same(folder / "whole" / "run", folder / "cut" / "run")


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_resume_bit_identical(shards, ran, tmp_path):
    processes = start(shards, [(tmp_path, settings(), NEVER)])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run" / "checkpoints").glob("step-0000000[2-6].pt")):
        assert time.monotonic() < deadline
        assert processes[0].poll() is None
        time.sleep(0.002)
    processes[1].send_signal(signal.SIGKILL)
    (said,) = finish(processes)[0]
    assert "Another process of this run exited unexpectedly" in said.splitlines()[-1]
    finish(start(shards, [(tmp_path, settings(), NEVER)]))
    assert_same(ran[0] / "whole" / "run", tmp_path / "run")


def assert_same(whole: Path, resumed: Path) -> None:
    a, b = weights(whole), weights(resumed)
    assert all(torch.equal(value, b[key]) for key, value in a.items())
    assert (whole / "log.jsonl").read_text() == (resumed / "log.jsonl").read_text()


def test_the_batch_is_divided_equally_or_not_at_all():
    assert Processes(1, 4).share(32) == 8
    with pytest.raises(UsageError, match="use 32, or another number"):
        Processes(0, 4).share(34)
    assert np.array_equal(Processes().mean(np.ones(2)), np.ones(2))
