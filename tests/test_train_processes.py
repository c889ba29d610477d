"""Training in several processes: the same as in one, resumed exactly, ending in one sentence."""

import os
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

from dpedkit.errors import UsageError
from dpedkit.manifest import read_jsonl
from dpedkit.models import load_model
from dpedkit.shards import open_split
from dpedkit.train.config import TrainConfig
from dpedkit.train.learner import Learner
from dpedkit.train.loop import train
from dpedkit.train.processes import Processes

SIZE = 20
PAIR = ("one", "two")
RUN = """
import sys, torch
from pathlib import Path
from dpedkit.errors import DpedkitError
from dpedkit.train import loop
from dpedkit.train.config import TrainConfig
torch.set_num_threads(1)
shards, runs, settings, broken_rank = sys.argv[1:]
step = loop._Training._step
def break_down(self, number):
    if self.processes.rank == int(broken_rank) and number == 2:
        raise DpedkitError("the disk is gone.")
    step(self, number)
loop._Training._step = break_down
try:
    config = TrainConfig(**eval(settings))
    loop.train(Path(shards), config, name="run", runs=Path(runs), resume=True)
except DpedkitError as error:
    sys.exit(f"error: {error}")
"""


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
        "steps": 4,
        "batch": 4,
        "augment": True,
        "ema": 0.9,
        "evaluate_every": 2,
        "device": "cpu",
    }
    return TrainConfig(**(given | changes))


def start(shards: Path, runs: Path, config: TrainConfig, *, count: int = 2, broken: int = -1):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    arguments = [str(shards), str(runs), repr(config.to_dict()), str(broken)]
    return [
        subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            env={**os.environ, **together, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def finish(processes) -> list[str]:
    """What each process said."""
    return [process.communicate(timeout=120)[1] for process in processes]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last.safetensors")


@pytest.mark.parametrize("losses", ["authors", pytest.param("paper", marks=pytest.mark.slow)])
def test_two_processes_train_as_one_does_with_the_whole_batch(shards, tmp_path, losses):
    # Few steps: Adam magnifies the rounding of small gradients, and the two networks each other's.
    config = settings(steps=2, evaluate_every=1, losses=losses, clip=1.0, ema=0.0)
    config = replace(config, separate_batches=losses == "authors")
    said = finish(start(shards, tmp_path / "two", config))
    train(shards, config, name="run", runs=tmp_path / "one")
    assert "2 processes" in said[0]
    assert said[1] == ""
    before = Learner(config, open_split(shards, "train"), torch.device("cpu")).generator
    one, two = (weights(tmp_path / name / "run") for name in PAIR)
    apart = moved = 0.0
    for key, value in before.state_dict().items():
        # A bias before a norm changes nothing: its gradient is rounding, which Adam magnifies.
        if not (key.endswith("conv.bias") and key.replace("conv", "norm") in one):
            apart += (one[key] - two[key]).square().sum().item()
            moved += (one[key] - value).square().sum().item()
    assert apart < 1e-3 * moved  # squared: three hundredths of the way
    photo = torch.rand(1, 3, 40, 40)
    outputs = [load_model(tmp_path / name / "run" / "last.safetensors")(photo) for name in PAIR]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-4)
    rows = [read_jsonl(tmp_path / name / "run" / "log.jsonl") for name in PAIR]
    for a, b in zip(*rows, strict=True):
        known = {key: value for key, value in a.items() if value is not None}
        assert {key: b[key] for key in known} == pytest.approx(known, rel=1e-3, abs=5e-3)


def test_two_processes_killed_and_resumed_end_bit_identical(shards, tmp_path):
    config = settings(steps=8, evaluate_every=4, checkpoint_seconds=0.0)
    finish(start(shards, tmp_path / "whole", config))
    checkpoints = tmp_path / "killed" / "run" / "checkpoints"
    processes = start(shards, tmp_path / "killed", config)
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("step-0000000[2-6].pt")):
        assert time.monotonic() < deadline
        assert processes[0].poll() is None
        time.sleep(0.002)
    processes[0].send_signal(signal.SIGKILL)
    said = finish(processes)
    assert processes[1].returncode != 0
    assert "Traceback" not in said[1]
    finish(start(shards, tmp_path / "killed", config))
    whole, killed = (weights(tmp_path / name / "run") for name in ("whole", "killed"))
    assert all(torch.equal(value, killed[key]) for key, value in whole.items())
    logs = [(tmp_path / name / "run" / "log.jsonl").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_an_error_in_any_process_ends_all_with_one_sentence(shards, tmp_path):
    processes = start(shards, tmp_path, settings(), broken=1)
    said = finish(processes)
    assert [process.returncode for process in processes] == [1, 1]
    assert "error:" not in said[0]
    assert said[1] == "error: process 1 of 2: the disk is gone.\n"


def test_the_batch_is_divided_equally_or_not_at_all():
    assert Processes(1, 4).share(32) == 8
    with pytest.raises(UsageError, match="take 32, or another number"):
        Processes(0, 4).share(34)
    assert np.array_equal(Processes().mean(np.ones(2)), np.ones(2))
