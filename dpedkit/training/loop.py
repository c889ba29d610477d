"""A training run: steps, validations, checkpoints.

Everything random is a function of the seed and the step, so a run that was killed and resumed
ends as the uninterrupted one does, bit for bit on a CPU. A step is implemented in `step.py`.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpedkit.core import console, lock
from dpedkit.core.device import choose_device, let_convolutions_round
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.manifest import read_jsonl
from dpedkit.core.parallel import keep_freed_memory
from dpedkit.core.wording import counted, listed
from dpedkit.metrics import MIN_SIDE
from dpedkit.models.photo_aware import guides_for, warn_without_thumbnails
from dpedkit.shards.checksums import check_shards
from dpedkit.shards.dataset import DpedShards
from dpedkit.shards.index import split_counts
from dpedkit.training.checkpoint import load_checkpoint, save_checkpoint
from dpedkit.training.config import TrainConfig
from dpedkit.training.content import ContentChoice, load_vgg
from dpedkit.training.data import Batch, TrainLoader
from dpedkit.training.distributed import Processes, local_device, process_group
from dpedkit.training.metric_log import MetricLog
from dpedkit.training.objective import Objective
from dpedkit.training.run_folder import RunFolder, find_run
from dpedkit.training.run_warnings import check_gain
from dpedkit.training.state import TrainingState
from dpedkit.training.step import (
    ACCURACY,
    GraphedStep,
    RunningMeans,
    TrainingStep,
    check_finite,
)
from dpedkit.training.stopping import stop_when_asked
from dpedkit.training.summary import TrainSummary
from dpedkit.training.validation import Validation

_CPU_GENERATOR = "photo-aware"  # of the recipe cpu
_LONG_RUN_S = 20 * 60.0
# Steps until their numbers are read: that makes the processor wait for a GPU.
_READ_EVERY, _READ_EVERY_ON_CPU = 10, 1
_BEFORE_END = "before_end"  # in a checkpoint


@lock.until_end()
def train(
    shards: str | Path,
    config: TrainConfig,
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    resume: bool = False,
    extend: bool = False,
    overwrite: bool = False,
    measured_after: bool = False,
) -> TrainSummary | None:
    """Train a network on the patches of a shards folder.

    Parameters
    ----------
    shards : str or Path
        From `dpedkit patches`. The test split is not touched.
    config : TrainConfig
    name : str, optional
        Name of the run's folder in `runs`; by default the next number, or with `resume` the run
        that was started last.
    runs : str or Path
    resume : bool
        Continue a run to its end; a named run that does not exist is started.
    extend : bool
        With `resume`, also continue it to more steps than it was started with. With a constant
        learning rate, the networks are those of a run that had all these steps from the start; a
        cosine schedule starts again where it had ended.
    overwrite : bool
        Replace a run of that name.
    measured_after : bool
        The caller measures the network itself: do not warn if there is no val split.

    Returns
    -------
    TrainSummary or None
        None in all but the first of several processes that train together.

    Raises
    ------
    DpedkitError
        If there is nothing to train on, the run exists, was started with other settings, or its
        loss is no longer finite.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the step is finished and the run is saved.
    """
    shards, runs = Path(shards), Path(runs)
    device = local_device(choose_device(config.device))
    with process_group(device) as processes:
        if config.cuda_graph and processes.count > 1:
            raise UsageError("cuda_graph works only in a single process; leave it out.")
        dataset = _open_train_split(shards)
        _refuse_damaged_patches(shards, config)
        folder, content = processes.from_first(
            lambda: find_run(
                shards,
                config,
                processes.count,
                name=name,
                runs=runs,
                resume=resume,
                extend=extend,
                overwrite=overwrite,
            )
        )
        set_arithmetic(config.precision, device)
        run = _Run(config, shards, dataset, folder, content, processes, device)
        if run.validation.newest_is_best and not measured_after:
            console.warn(
                f"{shards} has no val split, so validation uses patches of the train split, and "
                "the last network counts as the best. Measure it with `dpedkit evaluate`."
            )
        if processes.is_first and not folder.config_file.is_file():
            folder.begin(config, shards, content, processes.count)
        return run.run()


class _Run:
    """One run from its first or its newest checkpoint to its end, in one of its processes."""

    def __init__(
        self,
        config: TrainConfig,
        shards: Path,
        dataset: DpedShards,
        folder: RunFolder,
        content: ContentChoice,
        processes: Processes,
        device: torch.device,
    ) -> None:
        self.config, self.folder, self.processes, self.device = config, folder, processes, device
        vgg = load_vgg(content, config)
        if vgg is not None:
            vgg.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        objective = Objective(config, vgg, processes.count)
        # A run that has no record yet starts now.
        restarts = folder.restarts() if folder.config_file.is_file() else []
        self.state = TrainingState(config, dataset.reader, device, restarts)
        warn_without_thumbnails(self.state.generator, dataset.reader)
        guides = guides_for(self.state.generator, dataset.reader)
        self.loader = TrainLoader(config, dataset, device, processes, guides)
        if config.cache_features:
            self.loader.keep_features(objective)
        self.validation = Validation.of_run(config, shards, folder, content, self.state, objective)
        self.training_step = TrainingStep(config, self.state, objective, processes)
        self.learn: Callable[[Batch], Tensor] = self.training_step
        if config.cuda_graph:
            self.learn = GraphedStep(self.training_step, device)
        self.means = RunningMeans(self.training_step.columns)
        self.pretrained = 0  # steps of the discriminator alone
        self.last_model = folder.last_model
        self.read_every = _READ_EVERY_ON_CPU if device.type == "cpu" else _READ_EVERY
        self.last_saved = time.monotonic()
        self.validation_s = 0.0

    def run(self) -> TrainSummary | None:
        """Do what is left of the run."""
        start = self._resume()
        self.untouched = self.validation.patches.untouched()
        console.say(
            f"{self.folder.path}: {self.config.generator} on {self.device}, "
            f"{counted(self.config.steps, 'step')} of {counted(self.config.batch, 'patch pair')}"
            + (f", {self.processes.count} processes" if self.processes.count > 1 else "")
        )
        with (
            MetricLog(
                self.folder.log_file if self.processes.is_first else None, self.config
            ) as self.log,
            stop_when_asked() as stop,
            console.progress("train", self.config.steps, "steps", done=start) as bar,
        ):
            if self.validation.best is None:
                self._pretrain_discriminator(stop)
                validating = time.monotonic()
                self._validate(0)
                self._save(0)
                self.validation_s = time.monotonic() - validating
            read, last_read = start, time.monotonic()
            for step in range(start, self.config.steps):
                self._step(step)
                done = step + 1
                validate = done % self.config.evaluate_every == 0 or done == self.config.steps
                if validate or done % self.read_every == 0:
                    loss = self._read_steps()
                    leave, save = self._agree(stop)
                    bar.advance(done - read, note=f"loss {loss:.4g}")
                    if start < read <= start + self.read_every:  # the first steps are slower
                        self._announce(done, (time.monotonic() - last_read) / (done - read))
                    before_end = None
                    if validate and done % self.config.evaluate_every:
                        before_end = self._before_end()
                    if validate:
                        self._validate(done)
                    if validate or save:
                        self._save(done, before_end)
                    if leave and done < self.config.steps:
                        self._leave(done)
                    read, last_read = done, time.monotonic()
        console.detail(f"{self.loader.waited_s:.1f} s were spent waiting for patches")
        return self._summary() if self.processes.is_first else None

    def _step(self, step: int) -> None:
        self.state.begin_step(step)
        self.means.add(step, self.learn(self.loader.batch(step)))

    def _read_steps(self) -> float:
        """Read the numbers of the last steps; returns the loss of the newest.

        Raises
        ------
        DpedkitError
            If one of them is not finite.
        """
        for step, values in self.means.read(self.processes.mean):
            losses = {name: value for name, value in values.items() if name != ACCURACY}
            check_finite(step + 1, losses, self.last_model)
        return self.means.newest_loss

    def _agree(self, stop: threading.Event) -> tuple[bool, bool]:
        """Whether the processes leave now, and whether the first one saves the run now."""
        due = time.monotonic() - self.last_saved >= self.config.checkpoint_seconds
        leave, save = self.processes.any(
            [stop.is_set(), due and self.processes.is_first], self.device
        )
        return leave, save

    def _pretrain_discriminator(self, stop: threading.Event) -> None:
        """Phone against DSLR patches, before the generator starts (paper, section III-A.2)."""
        if self.state.discriminator is None:
            return
        total = self.config.discriminator_pretraining
        with console.progress("pre-train", total, "steps", done=self.pretrained) as bar:
            for step in range(self.pretrained, total):
                values = self.training_step.pretraining_step(self.loader.batch(step)).tolist()
                names = self.training_step.columns[-len(values) :]
                losses = dict(zip(names, values, strict=True))
                check_finite(step + 1, losses, self.last_model)
                self.pretrained = step + 1
                bar.advance()
                leave, save = self._agree(stop)
                if leave:
                    self._leave_pretraining(total)
                if save:
                    self._save(0)

    def _validate(self, step: int) -> None:
        if self.processes.is_first:
            self.validation.validate(step, self.means, self.log)
        self.means.clear()

    def _before_end(self) -> dict[str, Any]:
        """What the validation at the end changes, if it is out of turn.

        A run of more steps does not have that validation, and one that is extended must not either.
        """
        if self.processes.is_first and self.validation.best is not None:
            self.folder.keep_best_before_end()
        return copy.deepcopy(self._progress())

    def _progress(self) -> dict[str, Any]:
        """The sums and scores of a checkpoint; the names are part of the format."""
        return {"tally": self.means.state_dict(), "evaluations": self.validation.state_dict()}

    def _save(self, step: int, before_end: dict[str, Any] | None = None) -> None:
        """The newest network, then the whole state of the run.

        Raises
        ------
        DpedkitError
            If the last step left weights that are not finite: what is on disk stays.
        """
        norms = {"norm of the weights": self.state.norm_of_weights()}
        check_finite(step, norms, self.last_model)
        self.last_saved = time.monotonic()
        if not self.processes.is_first:
            return
        self.validation.save_last(step)
        best = self.validation.best
        save_checkpoint(
            self.folder.checkpoints,
            step,
            {  # the names are part of the format
                "learner": self.state.state_dict(),
                **self._progress(),
                "pretrained": self.pretrained,
                **({_BEFORE_END: before_end} if before_end else {}),
            },
            keep=self.config.keep_checkpoints,
            best=best["step"] if best else None,
        )

    def _resume(self) -> int:
        """Take over the newest checkpoint, if there is one; returns the steps done."""
        checkpoint = load_checkpoint(self.folder.checkpoints)
        self.processes.wait()  # nobody writes before all have read
        step, validated = 0, 0
        if checkpoint is not None:
            step = validated = int(checkpoint["step"])
            progress = checkpoint
            if step < self.config.steps and _BEFORE_END in checkpoint:  # the run was extended
                progress, validated = checkpoint[_BEFORE_END], step - 1
            self.state.load_state_dict(checkpoint["learner"])
            self.means.load_state_dict(progress["tally"])
            self.validation.load_state_dict(progress["evaluations"])
            self.pretrained = checkpoint["pretrained"]
            console.say(f"continuing {self.folder.path} after step {step}")
        if self.processes.is_first:
            self.folder.take_best_back()
            if validated < step:
                self.folder.undo_validation_at_end(step)
            self.folder.cut_log(-1 if self.validation.best is None else validated)
        return step

    def _leave(self, step: int) -> None:
        """Save everything and stop, on request.

        A run that is not stopped does not validate at this step. So if its network is the best, it
        is shown as such until the run is resumed, but not counted as such from then on.
        """
        if self.processes.is_first and read_jsonl(self.folder.log_file)[-1]["step"] != step:
            self._save(step)
            found = self.validation.measure(step)
            if self.validation.is_best(found):
                self.folder.set_best_aside()
                self.validation.save_best(step, found)
        self._stop(f"after step {step}. {self.folder.best_model} is the best network so far")

    def _leave_pretraining(self, total: int) -> None:
        """Stop on request before the generator has been trained."""
        self._save(0)
        if self.processes.is_first:
            self.validation.save_best(0, self.validation.measure(0))
        self._stop(
            f"after {self.pretrained} of {counted(total, 'step')} of the discriminator's "
            f"pre-training. {self.folder.best_model} is the network before training"
        )

    def _stop(self, where: str) -> None:
        # Once one process is gone `torchrun` ends the others, be they still writing or not.
        self.processes.wait()
        console.say(
            f"Stopped {where}; continue with the same command and "
            f"--name {self.folder.path.name} --resume."
        )
        raise KeyboardInterrupt

    def _announce(self, done: int, step_s: float) -> None:
        """Say how long the run will take, and what is faster, where it is long."""
        steps = self.config.steps - done
        left = steps * step_s + steps / self.config.evaluate_every * self.validation_s
        console.say(f"{step_s:.2g} s per step: about {console.duration(left)} remaining")
        if self.device.type == "cpu" and left > _LONG_RUN_S:
            if self.config.generator == _CPU_GENERATOR:
                console.warn(
                    f"This run takes about {console.duration(left)}; the machine may be busy."
                )
            else:
                console.warn(
                    f"Without a GPU this run takes about {console.duration(left)}. "
                    "`dpedkit train SHARDS --recipe cpu` trains a smaller network in minutes."
                )

    def _summary(self) -> TrainSummary:
        best = self.validation.best
        assert best is not None
        untouched, training = self.untouched.scores(), self.validation.training
        batch_norm = self.state.generator.options.get("norm") == "batch"
        for warning in check_gain(best, untouched, training["validated_on"], batch_norm=batch_norm):
            self.validation.warn(warning)
        return TrainSummary(
            folder=self.folder.path,
            model=self.folder.best_model,
            last=self.folder.last_model,
            steps=self.config.steps,
            best_step=int(best["step"]),
            psnr=best["psnr"],
            ms_ssim=best["ms_ssim"],
            untouched_psnr=untouched["psnr"],
            untouched_ms_ssim=untouched["ms_ssim"],
            over_scenes=best.get("over_scenes", {}),  # not in checkpoints of earlier versions
            untouched_over_scenes=untouched["over_scenes"],
            validated_on=training["validated_on"],
            content=training["content"]["loss"],
            warnings=self.validation.warnings,
        )


def _refuse_damaged_patches(shards: Path, config: TrainConfig) -> None:
    """Compare the patches with their checksums, once on each machine that trains.

    Raises
    ------
    DpedkitError
        If a shard is damaged.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        check_shards(shards, ("train", "val"), verify=config.verify)


def _open_train_split(shards: Path) -> DpedShards:
    """The patches to train on.

    Raises
    ------
    DpedkitError
        If there are none, or they are too small.
    """
    dataset = DpedShards(shards, "train")
    if len(dataset) == 0:
        others = [split for split, count in split_counts(shards).items() if count]
        if others:
            raise DpedkitError(
                f"{shards} has no patches to train on: all are in the {listed(others)} split. Put "
                "some into the train split with `dpedkit patches`, or, if they are imported, all "
                "of them with `dpedkit import-patches --split train`."
            )
        raise DpedkitError(
            f"{shards} has no patches to train on; cut some with `dpedkit patches`, with a lower "
            "--min-corr if it found none."
        )
    if dataset.reader.patch_size < MIN_SIDE:
        raise DpedkitError(
            f"{shards} has patches of {dataset.reader.patch_size} px; training needs at least "
            f"{MIN_SIDE}."
        )
    return dataset


def set_arithmetic(precision: str, device: torch.device) -> None:
    """Tell torch how to compute: what `TrainConfig.precision` allows, memory kept, fastest kernels.

    Holds for the whole process.
    """
    let_convolutions_round(precision != "float32")
    torch.backends.cudnn.benchmark = True  # all batches have the same size
    if device.type == "cpu":
        keep_freed_memory()
