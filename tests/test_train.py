"""Training runs: what they leave, how they stop, and that a resumed run is the same run."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from safetensors.torch import load_file

from dpedkit.errors import DpedkitError, UsageError
from dpedkit.images import read_photo
from dpedkit.manifest import read_jsonl
from dpedkit.models import load_model, read_card
from dpedkit.train import guards, loop
from dpedkit.train.config import TrainConfig
from dpedkit.train.loop import train

SIZE = 20  # px: the smallest patches that keep the tests fast and MS-SSIM defined


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(
        tmp_path_factory.mktemp("data") / "shards",
        {"train": make_patches(12, SIZE, 0), "val": make_patches(6, SIZE, 1)},
    )


def tiny(**changes) -> TrainConfig:
    settings = {
        "generator": "colour-residual",
        "steps": 6,
        "batch": 4,
        "content": "msssim-l1",
        "evaluate_every": 3,
        "device": "cpu",
    }
    return TrainConfig(**(settings | changes))


def without_discriminator(**changes) -> TrainConfig:
    weights = {"texture_weight": 0.0, "colour_weight": 0.0, "tv_weight": 0.0, "pixel_weight": 1.0}
    return tiny(**(weights | changes))


def assert_same_run(a: Path, b: Path) -> None:
    for name in ("model.safetensors", "last.safetensors"):
        first, second = load_file(a / name), load_file(b / name)
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert torch.equal(value, second[key]), f"{name}: {key}"
    assert (a / "log.jsonl").read_text() == (b / "log.jsonl").read_text()
    assert sorted(p.name for p in (a / "samples").iterdir()) == sorted(
        p.name for p in (b / "samples").iterdir()
    )


@pytest.mark.parametrize("losses", ["paper", "authors"])
def test_a_run_leaves_what_it_promises(shards, tmp_path, losses):
    config = tiny(losses=losses, discriminator_pretraining=2, augment=True, ema=0.9, clip=1.0)
    summary = train(shards, config, runs=tmp_path)
    run = tmp_path / "001"
    assert summary.folder == run
    rows = read_jsonl(run / "log.jsonl")
    assert [row["step"] for row in rows] == [0, 3, 6]
    assert set(rows[0]) == {
        "step",
        "discriminator_accuracy_train",
        "discriminator_accuracy_test",
        "generator_loss_train",
        "generator_loss_test",
        "psnr",
        "ms_ssim",
    }
    assert all(value is not None for row in rows[1:] for value in row.values())
    best = max(rows, key=lambda row: (row["ms_ssim"], row["step"]))
    card = read_card(run / "model.safetensors")
    assert card["training"]["step"] == best["step"] == summary.best_step
    assert read_card(run / "last.safetensors")["training"]["step"] == 6
    assert read_photo(run / "samples" / "step-000006.png").shape == (6 * 24 - 4, 3 * 24 - 4, 3)
    assert len(list((run / "checkpoints").iterdir())) == 2
    assert load_model(run)(torch.rand(1, 3, 33, 47)).shape == (1, 3, 33, 47)
    assert summary.to_dict()["model"] == str(run / "model.safetensors")
    assert "untouched phone" in summary.as_text()


@pytest.mark.parametrize("generator", ["resnet-8-32", "srcnn"])
def test_the_loss_falls(shards, tmp_path, generator):
    config = without_discriminator(
        generator=generator, norm="instance", steps=60, evaluate_every=30, learning_rate=2e-3
    )
    train(shards, config, runs=tmp_path)
    losses = [row["generator_loss_test"] for row in read_jsonl(tmp_path / "001" / "log.jsonl")]
    assert losses[-1] < 0.8 * losses[0]


def test_colour_residual_starts_at_the_colour_map_and_improves_on_it(shards, tmp_path):
    config = without_discriminator(steps=40, evaluate_every=20, learning_rate=2e-3)
    train(shards, config, runs=tmp_path)
    rows = read_jsonl(tmp_path / "001" / "log.jsonl")
    untouched = loop.Monitor(loop.open_split(shards, "val"), 6, 6, torch.device("cpu")).untouched()
    assert rows[0]["psnr"] > untouched["psnr"] + 5
    assert rows[-1]["psnr"] > rows[0]["psnr"]


def test_an_interrupted_run_continues_as_if_nothing_had_happened(shards, tmp_path, monkeypatch):
    """Every step of a run that is cut off after each of them."""
    config = tiny(augment=True, ema=0.9, checkpoint_seconds=0.0, losses="authors")
    train(shards, config, name="whole", runs=tmp_path)

    class PowerCutError(Exception):
        pass

    real_step = loop._Training._step

    def one_step(self, step):
        if self.steps_taken:
            raise PowerCutError
        self.steps_taken = 1
        return real_step(self, step)

    monkeypatch.setattr(loop._Training, "steps_taken", 0, raising=False)
    monkeypatch.setattr(loop._Training, "_step", one_step)
    for _ in range(config.steps - 1):
        with pytest.raises(PowerCutError):
            train(shards, config, name="pieces", runs=tmp_path, resume=True)
    train(shards, config, name="pieces", runs=tmp_path, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "pieces")


RUN_IN_PROCESS = """
import sys, torch
from pathlib import Path
from dpedkit.train.config import TrainConfig
from dpedkit.train.loop import train
torch.set_num_threads(1)
shards, runs, settings = sys.argv[1:]
try:
    train(Path(shards), TrainConfig(**eval(settings)), name="run", runs=Path(runs), resume=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


def start_process(shards: Path, runs: Path, config: TrainConfig) -> subprocess.Popen:
    arguments = [str(shards), str(runs), repr(config.to_dict())]
    return subprocess.Popen([sys.executable, "-c", RUN_IN_PROCESS, *arguments])


def kill_until_done(shards: Path, runs: Path, config: TrainConfig, kills: int) -> None:
    """Kill a run again and again, each time a random while after its next checkpoint."""
    rng = np.random.default_rng(0)
    checkpoints = runs / "run" / "checkpoints"
    for _ in range(kills):
        before = sorted(checkpoints.glob("*.pt"))
        process = start_process(shards, runs, config)
        deadline = time.monotonic() + 120
        while sorted(checkpoints.glob("*.pt")) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start_process(shards, runs, config).wait() == 0


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_resumed_is_bit_identical(shards, tmp_path, kills):
    config = tiny(steps=8 * kills, evaluate_every=4, augment=True, ema=0.9, checkpoint_seconds=0.0)
    assert start_process(shards, tmp_path / "whole", config).wait() == 0
    kill_until_done(shards, tmp_path / "killed", config, kills)
    assert_same_run(tmp_path / "whole" / "run", tmp_path / "killed" / "run")


def test_ctrl_c_saves_and_leaves(shards, tmp_path, monkeypatch):
    assert threading.current_thread() is threading.main_thread()
    config = without_discriminator(steps=50, evaluate_every=50, learning_rate=1e-5)
    real_step = loop._Training._step

    def step(self, number):
        if number == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return real_step(self, number)

    monkeypatch.setattr(loop._Training, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        train(shards, config, runs=tmp_path)
    run = tmp_path / "001"
    assert read_card(run / "last.safetensors")["training"]["step"] == 8
    assert read_card(run / "model.safetensors")["training"]["step"] == 8  # better than at step 0
    monkeypatch.undo()
    assert train(shards, config, runs=tmp_path, resume=True).folder == run
    assert [row["step"] for row in read_jsonl(run / "log.jsonl")] == [0, 50]


def test_a_finished_run_resumed_is_left_as_it_is(shards, tmp_path):
    first = train(shards, without_discriminator(), name="a", runs=tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "a").glob("*.*") if p.name != "tensorboard"}
    again = train(shards, without_discriminator(), name="a", runs=tmp_path, resume=True)
    assert again == first
    assert before == {p: p.read_bytes() for p in before}


def test_what_is_refused_before_anything_is_touched(shards, tmp_path):
    train(shards, without_discriminator(), name="a", runs=tmp_path)
    with pytest.raises(DpedkitError, match="is a run already: --resume"):
        train(shards, without_discriminator(), name="a", runs=tmp_path)
    with pytest.raises(DpedkitError, match=r"other settings \(batch: was 4, now 5\)"):
        train(shards, without_discriminator(batch=5), name="a", runs=tmp_path, resume=True)
    other = write_shards(tmp_path / "other", {"train": make_patches(5, SIZE, 9)})
    with pytest.raises(DpedkitError, match="holds others than the run began with"):
        train(other, without_discriminator(), name="a", runs=tmp_path, resume=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.jpg").touch()
    with pytest.raises(DpedkitError, match="no training run"):
        train(shards, without_discriminator(), name="photos", runs=tmp_path, overwrite=True)
    assert (tmp_path / "photos" / "x.jpg").exists()
    with pytest.raises(UsageError, match="plain name"):
        train(shards, without_discriminator(), name="../a", runs=tmp_path)
    with pytest.raises(DpedkitError, match="no run in"):
        train(shards, without_discriminator(), runs=tmp_path / "none", resume=True)


def test_names_count_up_and_never_overwrite(shards, tmp_path):
    config = without_discriminator(steps=1)
    (tmp_path / "041").mkdir()
    assert train(shards, config, runs=tmp_path).folder.name == "042"
    assert train(shards, config, runs=tmp_path).folder.name == "043"
    assert train(shards, config, name="043", runs=tmp_path, overwrite=True).folder.name == "043"


def test_nothing_to_train_on(tmp_path):
    empty = write_shards(tmp_path / "empty", {"val": make_patches(3, SIZE, 0)})
    with pytest.raises(DpedkitError, match="no patches to train on"):
        train(empty, tiny(), runs=tmp_path / "runs")
    small = write_shards(tmp_path / "small", {"train": make_patches(3, 12, 0)})
    with pytest.raises(DpedkitError, match="at least 16"):
        train(small, tiny(), runs=tmp_path / "runs")
    with pytest.raises(DpedkitError, match="no such folder"):
        train(tmp_path / "missing", tiny(), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_without_a_val_split_the_last_network_is_the_best(tmp_path, capsys):
    only_train = write_shards(tmp_path / "shards", {"train": make_patches(6, SIZE, 0)})
    summary = train(only_train, without_discriminator(), runs=tmp_path)
    assert summary.best_step == 6
    assert "no val split" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_network(
    shards, tmp_path, monkeypatch
):
    real_step = loop._Training._step

    def break_weights(self, number):
        if number == 4:
            with torch.no_grad():
                next(self.learner.generator.parameters()).fill_(float("nan"))
        return real_step(self, number)

    monkeypatch.setattr(loop._Training, "_step", break_weights)
    with pytest.raises(DpedkitError, match=r"step 5: the .*content.* no longer a finite number"):
        train(shards, tiny(), runs=tmp_path)
    last = load_file(tmp_path / "001" / "last.safetensors")
    assert all(value.isfinite().all() for value in last.values())


def test_vgg_weights_that_are_insisted_on(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("dpedkit.train.content.find_weights", lambda path, *, download: None)
    with pytest.raises(DpedkitError, match="--vgg FILE"):
        train(shards, tiny(content="vgg19"), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_auto_without_weights_is_loud_and_recorded(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dpedkit.train.content.find_weights", lambda path, *, download: None)
    summary = train(shards, tiny(content="auto", steps=1), runs=tmp_path)
    assert summary.content == "msssim-l1"
    assert "No VGG-19 weights" in capsys.readouterr().err
    assert 'loss = "msssim-l1"' in (tmp_path / "001" / "config.toml").read_text()


def test_fine_tuning_starts_from_the_given_model(shards, tmp_path):
    first = train(shards, without_discriminator(steps=20), name="a", runs=tmp_path)
    config = without_discriminator(init=str(first.last), steps=1, learning_rate=1e-8)
    train(shards, config, name="b", runs=tmp_path)
    a, b = (load_file(tmp_path / name / "last.safetensors") for name in "ab")
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], atol=1e-6, rtol=0)
    with pytest.raises(DpedkitError, match="--generator colour-residual"):
        train(shards, tiny(generator="srcnn", init=str(first.last)), name="c", runs=tmp_path)


def test_a_damaged_checkpoint_is_one_sentence(shards, tmp_path):
    train(shards, without_discriminator(), name="a", runs=tmp_path)
    newest = max((tmp_path / "a" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(DpedkitError, match="is damaged"):
        train(shards, without_discriminator(), name="a", runs=tmp_path, resume=True)


def test_guards_speak_once_and_only_when_needed():
    assert guards.check_discriminator([0.5, 0.99, 0.99]) == []
    assert "always right" in guards.check_discriminator([0.5, 0.99, 0.99, 1.0])[0]
    assert guards.check_discriminator([0.99] * 4) == []
    assert "guessing" in guards.check_discriminator([0.5] * 3)[0]
    assert guards.check_output(0, 0.0) == [] == guards.check_output(9, 0.1)
    assert "collapsed" in guards.check_output(9, 0.0)[0]
    good, bad = {"psnr": 20.0, "ms_ssim": 0.9}, {"psnr": 20.0, "ms_ssim": 0.8}
    assert guards.judge(good, bad) == []
    assert "0.8000 against 0.9000" in guards.judge(bad, good)[0]


def test_all_weights_zero_is_a_usage_error():
    with pytest.raises(UsageError, match="nothing to train towards"):
        without_discriminator(content_weight=0.0, pixel_weight=0.0)
