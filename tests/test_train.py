"""Training runs: what they leave, how they stop, and that a resumed run is the same run."""

import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from safetensors.torch import load_file

from dpedkit.colourmap import fit_colour_map_to
from dpedkit.core.config import read_toml
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.images import read_photo
from dpedkit.intervals import Interval
from dpedkit.models import load_model, read_card, save_model
from dpedkit.report.run import write as write_report
from dpedkit.shards import open_split
from dpedkit.shards.index import fingerprint
from dpedkit.training import loop, run_warnings, validation_patches
from dpedkit.training.checkpoint import load_checkpoint
from dpedkit.training.config import TrainConfig
from dpedkit.training.loop import train
from dpedkit.training.state import TrainingState, learning_rate
from dpedkit.training.step import TrainingStep
from dpedkit.training.stopping import stop_when_asked

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
        "raw_psnr",
        "raw_ms_ssim",
        *(f"psnr_over_scenes{end}" for end in ("", "_low", "_high")),
        *(f"ms_ssim_over_scenes{end}" for end in ("", "_low", "_high")),
    }
    assert all(value is not None for row in rows[1:] for value in row.values())
    best = max(rows, key=lambda row: (row["ms_ssim"], row["step"]))
    card = read_card(run / "model.safetensors")
    assert card["training"]["step"] == best["step"] == summary.best_step
    assert card["training"]["validated_on"] == "val"
    phone, dslr = (x / 255 for x in open_split(shards, "val").gather(range(6)))
    colours = fit_colour_map_to(open_split(shards, "train")).apply(phone).clip(0, 1)
    for name, pixels in {"untouched phone": phone, "colour polynomial": colours}.items():
        psnr = -10 * np.log10(((pixels - dslr) ** 2).mean(axis=(1, 2, 3))).mean()
        assert card["training"]["baselines"][name]["psnr"] == pytest.approx(psnr, abs=1e-4)
    assert read_card(run / "last.safetensors")["training"]["step"] == 6
    assert read_photo(run / "samples" / "step-000006.png").shape == (6 * 24 - 4, 3 * 24 - 4, 3)
    kept = {int(file.stem.split("-")[1]) for file in (run / "checkpoints").iterdir()}
    assert kept == {3, 6, best["step"]}
    assert load_model(run)(torch.rand(1, 3, 33, 47)).shape == (1, 3, 33, 47)
    assert summary.to_dict()["model"] == str(run / "model.safetensors")
    assert "untouched phone" in summary.as_text()


def test_scores_of_a_run_are_given_over_scenes_with_what_they_say_of_others(tmp_path):
    phone, dslr, _ = make_patches(6, SIZE, 1)
    dslr[4:] = 255 - dslr[4:]
    val = (phone, dslr, np.array([0, 0, 0, 0, 1, 1]))
    shards = write_shards(tmp_path / "s", {"train": make_patches(8, SIZE, 0), "val": val})
    config = without_discriminator(steps=1, generator="srcnn")
    summary = train(shards, config, runs=tmp_path)
    psnr = -10 * np.log10(((phone / 255 - dslr / 255) ** 2).mean(axis=(1, 2, 3)))
    low, high = sorted([psnr[:4].mean(), psnr[4:].mean()])
    line = next(one for one in summary.as_text().splitlines() if "untouched" in one)
    assert (
        f"{psnr.mean():.2f} " in line and f" {(low + high) / 2:.2f} [{low:.2f}, {high:.2f}]" in line
    )
    words = "by which the best network is chosen. That is 2 scenes, too few to tell"
    assert "PSNR dB, mean of 2 scenes" in summary.as_text() and words in summary.as_text()
    told = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
    assert told["validated_on"] == "val" and told["over_scenes"]["psnr"]["scenes"] == 2
    assert words in told["caution"]
    card = read_card(summary.model)["training"]
    assert card["over_scenes"] == told["over_scenes"]
    page = write_report(summary.folder).read_text()
    best = Interval(**told["over_scenes"]["psnr"]).text(".2f")
    assert f"<b>{best} dB</b><span>its PSNR, mean of 2 scenes</span>" in page
    assert f"<td>{best}</td>" in page and words in page


def test_without_a_val_split_it_is_said_that_the_scores_are_of_training_patches(tmp_path):
    shards = write_shards(tmp_path / "s", {"train": make_patches(8, SIZE, 0)})
    summary = train(shards, without_discriminator(steps=1, generator="srcnn"), runs=tmp_path)
    words = "that says nothing about scenes it has not seen"
    assert words in summary.as_text()
    assert words in write_report(summary.folder).read_text()
    assert not any("val split" in warning for warning in summary.warnings)
    assert any("On the train split the network is further" in one for one in summary.warnings)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_instance_norm_is_recommended_to_those_without_it(tmp_path, norm):
    shards = write_shards(tmp_path / "s", {"train": make_patches(8, SIZE, 0)})
    config = without_discriminator(steps=1, generator="resnet-8-32", norm=norm)
    warnings = train(shards, config, runs=tmp_path).warnings
    (said,) = (one for one in warnings if "the network is further" in one)
    assert ("use --norm instance" in said) == (norm == "batch")


def test_scenes_that_are_not_known_are_not_counted(tmp_path):
    shards = write_shards(
        tmp_path / "s", {"train": make_patches(8, SIZE, 0), "val": make_patches(6, SIZE, 1)}
    )
    imported = [line | {"crop": [0, 0, SIZE, SIZE]} for line in read_jsonl(shards / "pairs.jsonl")]
    write_jsonl(shards / "pairs.jsonl", imported)
    summary = train(shards, without_discriminator(steps=1, generator="srcnn"), runs=tmp_path)
    assert "How many scenes it shows is not known." in summary.as_text()
    assert "mean of" not in summary.as_text() and summary.to_dict()["over_scenes"] == {}


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
    untouched = validation_patches.ValidationPatches(
        open_split(shards, "val"), 6, 6, torch.device("cpu")
    ).untouched()
    assert rows[0]["psnr"] > untouched.psnr + 5
    assert rows[-1]["psnr"] > rows[0]["psnr"]


def test_an_interrupted_run_continues_as_if_nothing_had_happened(shards, tmp_path, monkeypatch):
    """Every step of a run that is cut off after each of them."""
    config = tiny(augment=True, ema=0.9, checkpoint_seconds=0.0, losses="authors")
    train(shards, config, name="whole", runs=tmp_path)

    class PowerCutError(Exception):
        pass

    real_step = loop._Run._step

    def one_step(self, step):
        if self.steps_taken:
            raise PowerCutError
        self.steps_taken = 1
        return real_step(self, step)

    monkeypatch.setattr(loop._Run, "steps_taken", 0, raising=False)
    monkeypatch.setattr(loop._Run, "_step", one_step)
    for _ in range(config.steps - 1):
        with pytest.raises(PowerCutError):
            train(shards, config, name="pieces", runs=tmp_path, resume=True)
    train(shards, config, name="pieces", runs=tmp_path, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "pieces")


@pytest.fixture
def one_thread():
    """Runs in other processes use one thread; sums are bit-identical only if this one does too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


RUN_IN_PROCESS = """
import sys, torch
from pathlib import Path
from dpedkit.training.config import TrainConfig
from dpedkit.training.loop import train
torch.set_num_threads(1)
shards, runs, settings = sys.argv[1:]
train(Path(shards), TrainConfig(**eval(settings)), name="run", runs=Path(runs), resume=True)
"""


def start_process(shards: Path, runs: Path, config: TrainConfig) -> subprocess.Popen:
    arguments = [str(shards), str(runs), repr(config.to_dict())]
    return subprocess.Popen([sys.executable, "-c", RUN_IN_PROCESS, *arguments])


def kill_after_checkpoints(shards: Path, runs: Path, config: TrainConfig, kills: int) -> None:
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


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_resumed_is_bit_identical(shards, tmp_path, kills, one_thread):
    config = tiny(steps=8 * kills, evaluate_every=4, augment=True, ema=0.9, checkpoint_seconds=0.0)
    train(shards, config, name="run", runs=tmp_path / "whole")
    kill_after_checkpoints(shards, tmp_path / "killed", config, kills)
    train(shards, config, name="run", runs=tmp_path / "killed", resume=True)
    assert_same_run(tmp_path / "whole" / "run", tmp_path / "killed" / "run")


def test_a_run_killed_before_its_record_was_written_is_begun_anew(shards, tmp_path):
    run = tmp_path / "run"
    for folder in ("checkpoints", "samples"):
        (run / folder).mkdir(parents=True)
    (run / "log.jsonl").touch()
    (run / "config.toml.4711.part").write_text("[tr")
    train(shards, tiny(steps=1), name="run", runs=tmp_path, resume=True)
    assert (run / "model.safetensors").is_file()
    assert not list(run.glob("*.part"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "log.jsonl").write_text("somebody's")
    with pytest.raises(DpedkitError, match="is not a training run"):
        train(shards, tiny(steps=1), name="other", runs=tmp_path, resume=True)
    assert (other / "log.jsonl").read_text() == "somebody's"


def stop_at(step: int, monkeypatch) -> None:
    """Press Ctrl-C during that step, counted from 0."""
    real_step = loop._Run._step

    def press(self, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real_step(self, number)

    monkeypatch.setattr(loop._Run, "_step", press)


def test_ctrl_c_saves_and_leaves(shards, tmp_path, monkeypatch):
    assert threading.current_thread() is threading.main_thread()
    config = without_discriminator(steps=50, evaluate_every=50, learning_rate=1e-5)
    stop_at(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(shards, config, runs=tmp_path)
    run = tmp_path / "001"
    assert read_card(run / "last.safetensors")["training"]["step"] == 8
    assert read_card(run / "model.safetensors")["training"]["step"] == 8  # better than at step 0
    monkeypatch.undo()
    assert train(shards, config, runs=tmp_path, resume=True).folder == run
    assert [row["step"] for row in read_jsonl(run / "log.jsonl")] == [0, 50]


def test_no_process_leaves_before_the_first_has_saved(shards, tmp_path, monkeypatch):
    written = []
    last = tmp_path / "001" / "last.safetensors"

    def wait(self):
        written.append(read_card(last)["training"]["step"] if last.is_file() else None)

    monkeypatch.setattr(loop.Processes, "wait", wait)
    stop_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(shards, without_discriminator(steps=50, evaluate_every=50), runs=tmp_path)
    assert written[-1] == 4


def test_ctrl_c_in_the_pretraining_leaves_a_model_and_a_run_to_resume(
    shards, tmp_path, monkeypatch
):
    config = tiny(discriminator_pretraining=6, augment=True)
    train(shards, config, name="whole", runs=tmp_path)
    real_step = TrainingStep.pretraining_step
    steps = []

    def press(self, data):
        steps.append(data)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real_step(self, data)

    monkeypatch.setattr(TrainingStep, "pretraining_step", press)
    with pytest.raises(KeyboardInterrupt):
        train(shards, config, name="stopped", runs=tmp_path)
    assert load_model(tmp_path / "stopped")(torch.rand(1, 3, SIZE, SIZE)).isfinite().all()
    train(shards, config, name="stopped", runs=tmp_path, resume=True)
    assert len(steps) == 6
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("has_val", [True, False])
def test_stopped_by_ctrl_c_and_resumed_is_bit_identical(tmp_path, monkeypatch, has_val):
    """Also where the network at the stop is better than all that the whole run evaluates."""
    splits = {"train": make_patches(12, SIZE, 0)}
    if has_val:
        splits["val"] = make_patches(6, SIZE, 1)
    shards = write_shards(tmp_path / "shards", splits)
    config = tiny(steps=8, evaluate_every=8, checkpoint_seconds=0.0)

    def measure(self, *networks):
        return validation_patches.Measurement(
            loss=1.0, discriminator_accuracy=0.5, psnr=20.0, ms_ssim=next(scores), spread=0.1
        )

    monkeypatch.setattr(validation_patches.ValidationPatches, "measure", measure)
    scores = iter([0.5, 0.4])
    train(shards, config, name="whole", runs=tmp_path)
    scores = iter([0.5, 0.9, 0.9, 0.4])  # those where it is stopped are the best
    for step in (2, 5):
        with monkeypatch.context() as patch:
            stop_at(step, patch)
            with pytest.raises(KeyboardInterrupt):
                train(shards, config, name="stopped", runs=tmp_path, resume=True)
        run = tmp_path / "stopped"
        assert read_card(run / "model.safetensors")["training"]["step"] == step + 1
        load_model(run)
    summary = train(shards, config, name="stopped", runs=tmp_path, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    assert summary.best_step == (0 if has_val else 8)
    left = sorted(path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir())
    assert left == ["step-00000000.pt"] * has_val + ["step-00000007.pt", "step-00000008.pt"]


def test_a_run_to_resume_that_is_not_there_is_begun_and_said_to_be(shards, tmp_path, caplog):
    config = without_discriminator(steps=1)
    caplog.set_level(logging.INFO, logger="dpedkit")
    for said in (True, False):
        caplog.clear()
        train(shards, config, name="new", runs=tmp_path, resume=True)
        assert ("Starting new run" in caplog.text) == said


def test_a_finished_run_resumed_is_left_as_it_is(shards, tmp_path):
    first = train(shards, without_discriminator(), name="a", runs=tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "a").glob("*.*") if p.name != "tensorboard"}
    again = train(shards, without_discriminator(), name="a", runs=tmp_path, resume=True)
    assert again == first
    assert before == {p: p.read_bytes() for p in before}


@pytest.mark.parametrize("steps", [3, 6, 4, 5])  # in turn of the validations, and out of turn
def test_an_extended_run_is_that_of_more_steps(shards, tmp_path, caplog, steps):
    settings = {"augment": True, "ema": 0.9, "losses": "authors"}
    train(shards, tiny(steps=9, **settings), name="whole", runs=tmp_path)
    train(shards, tiny(steps=steps, **settings), name="extended", runs=tmp_path)
    more = tiny(steps=9, **settings)
    with pytest.raises(DpedkitError, match=f"steps: was {steps}, now 9"):
        train(shards, more, name="extended", runs=tmp_path, resume=True)
    caplog.set_level(logging.INFO, logger="dpedkit")
    train(shards, more, name="extended", runs=tmp_path, resume=True, extend=True)
    assert f"extended from {steps} to 9 steps" in caplog.text
    assert_same_run(tmp_path / "whole", tmp_path / "extended")
    assert read_toml(tmp_path / "extended" / "config.toml")["train"]["steps"] == 9
    with pytest.raises(DpedkitError, match=f"steps: was 9, now {steps}"):
        train(
            shards, tiny(steps=steps, **settings), name="extended", runs=tmp_path, resume=True,
            extend=True,
        )  # fmt: skip


def test_the_validation_at_the_end_does_not_decide_the_best_of_an_extended_run(
    shards, tmp_path, monkeypatch
):
    """Out of turn, it may find the best network; a run of more steps would not have seen that."""
    real = validation_patches.ValidationPatches.measure
    scores = iter([0.1, 0.2, 0.9, 0.3, 0.1, 0.2, 0.3])

    def measure(self, *networks):
        return replace(real(self, *networks), ms_ssim=next(scores))

    monkeypatch.setattr(validation_patches.ValidationPatches, "measure", measure)
    first = train(shards, tiny(steps=4), name="extended", runs=tmp_path)
    assert first.best_step == 4
    more = tiny(steps=6)
    extended = train(shards, more, name="extended", runs=tmp_path, resume=True, extend=True)
    whole = train(shards, more, name="whole", runs=tmp_path)
    assert extended.best_step == whole.best_step == 6
    assert_same_run(tmp_path / "whole", tmp_path / "extended")


def test_a_cosine_starts_again_where_a_run_is_extended(shards, tmp_path, caplog, monkeypatch):
    rates = {}

    def begin_step(self, step):
        real(self, step)
        rates[step] = self.optimiser.param_groups[0]["lr"]

    real = TrainingState.begin_step
    monkeypatch.setattr(TrainingState, "begin_step", begin_step)
    caplog.set_level(logging.INFO, logger="dpedkit")
    for steps in (4, 10, 12):
        config = without_discriminator(schedule="cosine", steps=steps)
        train(shards, config, name="a", runs=tmp_path, resume=True, extend=True)
    assert "follows a new half cosine" in caplog.text
    for start, end in ((0, 4), (4, 10), (10, 12)):
        alone = without_discriminator(schedule="cosine", steps=end - start)
        found = [rates[step] for step in range(start, end)]
        assert found == [learning_rate(alone, step) for step in range(end - start)]


def test_a_cosine_that_has_not_ended_is_not_extended(shards, tmp_path, monkeypatch):
    config = without_discriminator(schedule="cosine", steps=6)
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(shards, config, name="a", runs=tmp_path)
    longer = replace(config, steps=9)
    with pytest.raises(UsageError, match="Finish it first, with --steps 6"):
        train(shards, longer, name="a", runs=tmp_path, resume=True, extend=True)
    assert train(shards, config, name="a", runs=tmp_path, resume=True).steps == 6


def test_what_is_refused_before_anything_is_touched(shards, tmp_path):
    train(shards, without_discriminator(), name="a", runs=tmp_path)
    with pytest.raises(DpedkitError, match="already holds a run: --resume"):
        train(shards, without_discriminator(), name="a", runs=tmp_path)
    with pytest.raises(DpedkitError, match=r"other settings \(batch: was 4, now 5\)"):
        train(shards, without_discriminator(batch=5), name="a", runs=tmp_path, resume=True)
    other = write_shards(tmp_path / "other", {"train": make_patches(5, SIZE, 9)})
    with pytest.raises(DpedkitError, match="have changed"):
        train(other, without_discriminator(), name="a", runs=tmp_path, resume=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.jpg").touch()
    for config in ("", 'theme = "dark"', "not TOML"):  # of another program
        for option in ("overwrite", "resume"):
            with pytest.raises(DpedkitError, match="not a training run"):
                train(
                    *(shards, without_discriminator()), name="photos", runs=tmp_path,
                    **{option: True},
                )  # fmt: skip
        (tmp_path / "photos" / "config.toml").write_text(config)
    assert (tmp_path / "photos" / "x.jpg").exists()
    for name in ("../a", "..", ""):
        with pytest.raises(UsageError, match="plain folder name"):
            train(shards, without_discriminator(), name=name, runs=tmp_path)
    with pytest.raises(DpedkitError, match="no run in"):
        train(shards, without_discriminator(), runs=tmp_path / "none", resume=True)


def test_a_file_that_decides_the_result_must_be_the_same_to_resume(shards, tmp_path, monkeypatch):
    first = train(shards, without_discriminator(steps=2), name="a", runs=tmp_path)
    start = tmp_path / "start.safetensors"
    start.write_bytes(first.model.read_bytes())
    config = without_discriminator(steps=2, init=str(start))
    train(shards, config, name="b", runs=tmp_path)
    train(shards, config, name="b", runs=tmp_path, resume=True)
    start.write_bytes(first.last.read_bytes())
    with pytest.raises(DpedkitError, match=r"other settings \(the content of init has changed\)"):
        train(shards, config, name="b", runs=tmp_path, resume=True)

    weights = tmp_path / "vgg.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, weights)
    monkeypatch.setattr(loop, "load_vgg", lambda content, config: None)
    config = without_discriminator(steps=2, content="vgg19", vgg=str(weights))
    train(shards, config, name="c", runs=tmp_path)
    record = read_toml(tmp_path / "c" / "config.toml")
    assert record["content"]["form"] == "torchvision"
    assert record["files"]["vgg"] == sha256(weights.read_bytes()).hexdigest()
    train(shards, config, name="c", runs=tmp_path, resume=True)
    with pytest.raises(DpedkitError, match=r"vgg: was '.*vgg\.pth', now 'other\.pth'"):
        train(shards, replace(config, vgg="other.pth"), name="c", runs=tmp_path, resume=True)
    torch.save({"features.0.weight": torch.ones(1)}, weights)
    with pytest.raises(DpedkitError, match=r"other settings \(the content of vgg has changed\)"):
        train(shards, config, name="c", runs=tmp_path, resume=True)
    weights.unlink()
    with pytest.raises(DpedkitError, match=r"vgg\.pth: .* no longer there"):
        train(shards, config, name="c", runs=tmp_path, resume=True)


def test_names_count_up_and_never_overwrite(shards, tmp_path):
    config = without_discriminator(steps=1)
    (tmp_path / "041").mkdir()
    assert train(shards, config, runs=tmp_path).folder.name == "042"
    assert train(shards, config, runs=tmp_path).folder.name == "043"
    assert train(shards, config, name="043", runs=tmp_path, overwrite=True).folder.name == "043"


def test_nothing_to_train_on(tmp_path):
    empty = write_shards(tmp_path / "empty", {"val": make_patches(3, SIZE, 0)})
    with pytest.raises(
        DpedkitError, match=r"all are in the val split.*import-patches --split train"
    ):
        train(empty, tiny(), runs=tmp_path / "runs")
    small = write_shards(tmp_path / "small", {"train": make_patches(3, 12, 0)})
    with pytest.raises(DpedkitError, match="at least 16"):
        train(small, tiny(), runs=tmp_path / "runs")
    with pytest.raises(DpedkitError, match="no such folder"):
        train(tmp_path / "missing", tiny(), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_without_a_val_split_the_last_network_is_the_best(tmp_path, caplog):
    only_train = write_shards(tmp_path / "shards", {"train": make_patches(6, SIZE, 0)})
    summary = train(only_train, without_discriminator(), runs=tmp_path)
    assert summary.best_step == 6
    assert "no val split" in caplog.text


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_network(
    shards, tmp_path, monkeypatch
):
    real_step = loop._Run._step

    def break_weights(self, number):
        if number == 4:
            with torch.no_grad():
                next(self.state.generator.parameters()).fill_(float("nan"))
        return real_step(self, number)

    monkeypatch.setattr(loop._Run, "_step", break_weights)
    with pytest.raises(DpedkitError, match=r"step 5: the .*content.* no longer finite"):
        train(shards, tiny(), runs=tmp_path)
    last = load_file(tmp_path / "001" / "last.safetensors")
    assert all(value.isfinite().all() for value in last.values())


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_weights_that_are_no_numbers_are_never_saved(shards, tmp_path, monkeypatch, network):
    """A step whose loss is finite can leave them; the next one's loss then is not."""
    real_step = loop._Run._step

    def break_weights(self, number):
        real_step(self, number)
        if number == 4:
            with torch.no_grad():
                next(getattr(self.state, network).parameters()).fill_(math.inf)

    monkeypatch.setattr(loop._Run, "_step", break_weights)
    config = tiny(steps=50, evaluate_every=50, checkpoint_seconds=0.0)
    with pytest.raises(DpedkitError, match=r"step 5: the norm of the weights is no longer finit"):
        train(shards, config, runs=tmp_path)
    assert read_card(tmp_path / "001" / "last.safetensors")["training"]["step"] == 4
    assert load_checkpoint(tmp_path / "001" / "checkpoints")["step"] == 4


def test_vgg_weights_that_are_insisted_on(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("dpedkit.training.content.find_weights", lambda path, *, download: None)
    with pytest.raises(DpedkitError, match="--vgg FILE"):
        train(shards, tiny(content="vgg19"), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_auto_without_weights_is_loud_and_recorded(shards, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("dpedkit.training.content.find_weights", lambda path, *, download: None)
    summary = train(shards, tiny(content="auto", steps=1), runs=tmp_path)
    assert summary.content == "msssim-l1"
    assert "No VGG-19 weights" in caplog.text
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


def test_the_layout_of_a_checkpoint_is_that_of_earlier_versions(shards, tmp_path):
    """Runs that an earlier version began are resumed by these names."""
    parts = {"format", "step", "learner", "tally", "evaluations", "pretrained"}
    train(shards, tiny(ema=0.9, steps=1), name="out of turn", runs=tmp_path)
    state = load_checkpoint(tmp_path / "out of turn" / "checkpoints")
    assert set(state) == parts | {"before_end"}
    assert set(state["before_end"]) == {"tally", "evaluations"}
    train(shards, tiny(ema=0.9, steps=1, evaluate_every=1), name="a", runs=tmp_path)
    state = load_checkpoint(tmp_path / "a" / "checkpoints")
    assert set(state) == parts
    parts = {"generator", "average", "discriminator", "optimiser", "discriminator_optimiser"}
    assert set(state["learner"]) == parts
    assert set(state["tally"]) == {"steps", "sums"}
    assert set(state["evaluations"]) == {"best", "accuracies", "warnings"}


def flip_a_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda content: content[:1000], lambda content: b"", flip_a_bit],
    ids=["cut short", "empty", "one bit"],
)  # fmt: skip
def test_a_damaged_checkpoint_gives_way_to_the_one_before(shards, tmp_path, caplog, damage):
    config = without_discriminator(steps=4, evaluate_every=2, keep_checkpoints=2)
    train(shards, config, name="a", runs=tmp_path)
    networks = ("model.safetensors", "last.safetensors")
    before = [(tmp_path / "a" / name).read_bytes() for name in networks]
    kept = sorted((tmp_path / "a" / "checkpoints").iterdir())
    assert len(kept) >= 2
    kept[-1].write_bytes(damage(kept[-1].read_bytes()))
    train(shards, config, name="a", runs=tmp_path, resume=True)
    assert f"{kept[-1].name} is damaged" in caplog.text
    assert [(tmp_path / "a" / name).read_bytes() for name in networks] == before
    for file in (tmp_path / "a" / "checkpoints").iterdir():
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DpedkitError, match="every checkpoint is damaged"):
        train(shards, config, name="a", runs=tmp_path, resume=True)


def test_a_phone_that_equals_the_dslr_has_no_psnr(tmp_path):
    phone, _, pair = make_patches(6, SIZE, 0)
    same = write_shards(tmp_path / "same", dict.fromkeys(("train", "val"), (phone, phone, pair)))
    config = without_discriminator(steps=1, generator="srcnn")
    summary = train(same, config, runs=tmp_path)
    assert summary.untouched_psnr is None
    assert json.loads(json.dumps(summary.to_dict(), allow_nan=False))["untouched_psnr"] is None
    assert "against inf dB" in summary.as_text()
    assert any(
        line.split()[2] == "inf"
        for line in summary.as_text().splitlines()
        if "untouched phone" in line
    )


def test_perfect_and_broken_networks_are_told_apart(shards, tmp_path, monkeypatch):
    psnr = torch.tensor([20.0, math.inf, 30.0], dtype=torch.float64)
    assert validation_patches._mean_of_differing(psnr) == 25.0
    assert validation_patches._mean_of_differing(psnr[1:2]) is None
    assert math.isnan(validation_patches._mean_of_differing(psnr * math.nan))
    real_step = loop._Run._step

    def break_weights(self, number):
        real_step(self, number)
        if number == 5:
            with torch.no_grad():
                next(self.state.generator.parameters()).fill_(math.nan)

    monkeypatch.setattr(loop._Run, "_step", break_weights)
    with pytest.raises(
        DpedkitError, match=r"step 6: the loss in the validation.* PSNR are no long"
    ):
        train(shards, without_discriminator(), runs=tmp_path)
    for name in ("model.safetensors", "last.safetensors"):
        assert all(v.isfinite().all() for v in load_file(tmp_path / "001" / name).values())


def test_the_card_says_on_which_patches_a_network_was_trained(shards, tmp_path):
    other = write_shards(tmp_path / "other", {"train": make_patches(5, SIZE, 9)})
    first = train(shards, without_discriminator(steps=1), name="a", runs=tmp_path)
    assert read_card(first.model)["training"]["shards"] == [fingerprint(shards)]
    config = without_discriminator(steps=1, init=str(first.model))
    second = train(other, config, name="b", runs=tmp_path)
    both = sorted([fingerprint(shards), fingerprint(other)])
    assert read_card(second.model)["training"]["shards"] == both
    # A model file is published: it names no folder of this computer.
    assert read_card(second.model)["training"]["config"]["init"] == "model.safetensors"
    unknown = tmp_path / "unknown.safetensors"
    save_model(unknown, load_model(first.model), {})
    config = without_discriminator(steps=1, init=str(unknown))
    third = train(other, config, name="c", runs=tmp_path)
    assert None in read_card(third.model)["training"]["shards"]


def test_the_report_names_the_network_that_is_kept(shards, tmp_path):
    train(shards, without_discriminator(), name="a", runs=tmp_path)
    run = tmp_path / "a"
    rows = read_jsonl(run / "log.jsonl")
    card = read_card(run / "model.safetensors")["training"]
    for row in rows:  # the highest PSNR elsewhere than the best MS-SSIM, by which it is chosen
        row["psnr"] = None if row["step"] != card["step"] else 1.0
    write_jsonl(run / "log.jsonl", rows)
    page = write_report(run).read_text()
    for fact in (f"{card['psnr']:.2f} dB", f"{card['ms_ssim']:.4f}", f"{card['step']} of 6"):
        assert f"<b>{fact}</b>" in page
    assert "inf, " in page


def test_guards_speak_once_and_only_when_needed():
    assert run_warnings.check_discriminator([0.5, 0.99, 0.99]) == []
    assert "always right" in run_warnings.check_discriminator([0.5, 0.99, 0.99, 1.0])[0]
    assert run_warnings.check_discriminator([0.99] * 4) == []
    assert "guessing" in run_warnings.check_discriminator([0.5] * 3)[0]
    assert run_warnings.check_output(0, 0.0) == [] == run_warnings.check_output(9, 0.1)
    assert "collapsed" in run_warnings.check_output(9, 0.0)[0]
    good, bad = {"psnr": 20.0, "ms_ssim": 0.9}, {"psnr": 20.0, "ms_ssim": 0.8}
    assert run_warnings.check_gain(good, bad, "val", batch_norm=True) == []
    (other,) = run_warnings.check_gain(bad, good, "val", batch_norm=False)
    assert "0.8000 against 0.9000" in other
    assert "--norm" not in other
    assert "use --norm instance" in run_warnings.check_gain(bad, good, "val", batch_norm=True)[0]


def test_all_weights_zero_is_a_usage_error():
    with pytest.raises(UsageError, match="nothing to optimise"):
        without_discriminator(content_weight=0.0, pixel_weight=0.0)


def test_a_signal_that_comes_twice_is_one_request(monkeypatch):
    with stop_when_asked() as stop:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.is_set()
        now = time.monotonic()
        monkeypatch.setattr("dpedkit.training.stopping.time.monotonic", lambda: now + 5)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
