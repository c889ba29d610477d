"""A training run: steps, evaluations, checkpoints.

Everything random is a function of the seed and the step, so a run that was killed and resumed
ends as the uninterrupted one does, bit for bit on a CPU. What a step does stands in `step.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from dpedkit.core import console, lock
from dpedkit.core.device import choose_device
from dpedkit.core.errors import UsageError
from dpedkit.core.manifest import Journal, read_jsonl
from dpedkit.train import guards, setup
from dpedkit.train.checkpoint import load_checkpoint, save_checkpoint
from dpedkit.train.config import TrainConfig
from dpedkit.train.evaluations import Evaluations
from dpedkit.train.feed import Feed, StepData
from dpedkit.train.interruption import stop_when_asked
from dpedkit.train.learner import Learner
from dpedkit.train.processes import Processes, local_device, together
from dpedkit.train.replay import ReplayedStep
from dpedkit.train.runfolder import RunFolder
from dpedkit.train.scalars import ScalarLog
from dpedkit.train.step import TrainingStep
from dpedkit.train.summary import TrainSummary
from dpedkit.train.tally import ACCURACY, Tally

_LONG_RUN_S = 20 * 60.0
# Steps until their numbers are read: that makes the processor wait for a GPU.
_READ_EVERY, _READ_EVERY_ON_CPU = 10, 1


@lock.until_end()
def train(
    shards: Path,
    config: TrainConfig,
    *,
    name: str | None = None,
    runs: Path = Path("runs"),
    resume: bool = False,
    overwrite: bool = False,
) -> TrainSummary | None:
    """Train a network on the patches of a shards folder.

    Parameters
    ----------
    shards : Path
        From `dpedkit patches`. The test split is not touched.
    config : TrainConfig
    name : str, optional
        Of the run's folder below `runs`; by default the next number, or with `resume` the run
        that was begun last.
    runs : Path
    resume : bool
        Continue a run to its end; a named one that is not there yet is begun.
    overwrite : bool
        Replace a run of that name.

    Returns
    -------
    TrainSummary or None
        None in all but the first of several processes that train together.

    Raises
    ------
    DpedkitError
        If there is nothing to train on, the run exists, was begun with other settings, or its
        loss stops being finite.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the step is finished and the run is saved.
    """
    shards = Path(shards)
    device = local_device(choose_device(config.device))
    with together(device) as processes:
        if config.cuda_graph and processes.count > 1:
            raise UsageError("cuda_graph works in a single process only; leave it out.")
        reader = setup.open_train_split(shards)
        setup.refuse_damaged_patches(shards, config)
        folder, content = processes.from_first(
            lambda: setup.find_run(
                shards,
                config,
                processes.count,
                name=name,
                runs=runs,
                resume=resume,
                overwrite=overwrite,
            )
        )
        setup.choose_arithmetic(config.precision, device)
        objective = setup.make_objective(config, content, processes, device)
        learner = Learner(config, reader, device)
        feed = setup.make_feed(config, reader, objective, processes, device)
        if processes.is_first and not folder.config_file.is_file():
            folder.begin(config, shards, content, processes.count)
        with ScalarLog(folder.path if processes.is_first else None) as scalars:
            evaluations = setup.make_evaluations(
                config, shards, folder, content, learner, objective, scalars
            )
            step = TrainingStep(config, learner, objective, processes)
            return _Training(config, folder, feed, learner, step, evaluations, processes).run()


class _Training:
    """One run from its first or its newest checkpoint to its end, in one of its processes."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        feed: Feed,
        learner: Learner,
        step: TrainingStep,
        evaluations: Evaluations,
        processes: Processes,
    ) -> None:
        self.config, self.folder, self.feed, self.learner = config, folder, feed, learner
        self.training_step, self.evaluations, self.processes = step, evaluations, processes
        self.device = learner.device
        self.learn: Callable[[StepData], Tensor] = step
        if config.cuda_graph:
            self.learn = ReplayedStep(step, self.device)
        self.tally = Tally(step.columns)
        self.pretrained = 0  # steps of the discriminator alone
        on_cpu = self.device.type == "cpu"
        self.read_every = _READ_EVERY_ON_CPU if on_cpu else _READ_EVERY
        self.last_saved = time.monotonic()
        self.evaluation_s = 0.0

    def run(self) -> TrainSummary | None:
        """Do what is left of the run."""
        start = self._resume()
        self.untouched = self.evaluations.monitor.untouched()
        console.say(
            f"{self.folder.path}: {self.config.generator} on {self.device}, "
            f"{self.config.steps} steps of {self.config.batch} patch pairs"
            + (f", {self.processes.count} processes" if self.processes.count > 1 else "")
        )
        with (
            Journal(self.folder.log_file) as self.log,
            stop_when_asked() as stop,
            console.progress("train", self.config.steps, "steps", done=start) as bar,
        ):
            if self.evaluations.best is None:
                self._pretrain_discriminator(stop)
                evaluating = time.monotonic()
                self._evaluate(0)
                self._save(0)
                self.evaluation_s = time.monotonic() - evaluating
            read, last_read = start, time.monotonic()
            for step in range(start, self.config.steps):
                self._step(step)
                done = step + 1
                evaluate = done % self.config.evaluate_every == 0 or done == self.config.steps
                if evaluate or done % self.read_every == 0:
                    loss = self._read_steps()
                    leave, save = self._agree(stop)
                    bar.advance(done - read, note=f"loss {loss:.4g}")
                    if start < read <= start + self.read_every:  # the first steps are slower
                        self._announce(done, (time.monotonic() - last_read) / (done - read))
                    if evaluate:
                        self._evaluate(done)
                    if evaluate or save:
                        self._save(done)
                    if leave and done < self.config.steps:
                        self._leave(done)
                    read, last_read = done, time.monotonic()
        console.detail(f"{self.feed.waited_s:.1f} s were spent waiting for patches")
        return self._summary() if self.processes.is_first else None

    def _step(self, step: int) -> None:
        self.learner.begin_step(step)
        self.tally.add(step, self.learn(self.feed.at(step)))

    def _read_steps(self) -> float:
        """Read the numbers of the last steps; returns the loss of the newest.

        Raises
        ------
        DpedkitError
            If one of them is not finite.
        """
        for step, values in self.tally.read(self.processes.mean):
            losses = {name: value for name, value in values.items() if name != ACCURACY}
            guards.check_finite(step + 1, losses, self.folder.last_model)
        return self.tally.newest_loss

    def _agree(self, stop: threading.Event) -> tuple[bool, bool]:
        """Whether the processes leave now, and whether the first one saves the run now."""
        due = time.monotonic() - self.last_saved >= self.config.checkpoint_seconds
        leave, save = self.processes.any(
            [stop.is_set(), due and self.processes.is_first], self.device
        )
        return leave, save

    def _pretrain_discriminator(self, stop: threading.Event) -> None:
        """Phone against DSLR patches, before the generator starts (paper, section III-A.2)."""
        if self.learner.discriminator is None:
            return
        total = self.config.discriminator_pretraining
        with console.progress("pre-train", total, "steps", done=self.pretrained) as bar:
            for step in range(self.pretrained, total):
                values = self.training_step.pretraining_step(self.feed.at(step)).tolist()
                names = self.training_step.columns[-len(values) :]
                losses = dict(zip(names, values, strict=True))
                guards.check_finite(step + 1, losses, self.folder.last_model)
                self.pretrained = step + 1
                bar.advance()
                leave, save = self._agree(stop)
                if leave:
                    self._leave_pretraining(total)
                if save:
                    self._save(0)

    def _evaluate(self, step: int) -> None:
        if self.processes.is_first:
            self.evaluations.evaluate(step, self.tally, self.log)
        self.tally.clear()

    def _save(self, step: int) -> None:
        """The newest network, then the whole state of the run.

        Raises
        ------
        DpedkitError
            If the last step left weights that are not finite: what is on disk stays.
        """
        norms = {"norm of the weights": self.learner.norm_of_weights()}
        guards.check_finite(step, norms, self.folder.last_model)
        self.last_saved = time.monotonic()
        if not self.processes.is_first:
            return
        self.evaluations.save_last(step)
        state = {
            "learner": self.learner.state(),
            "tally": self.tally.state(),
            "evaluations": self.evaluations.state(),
            "pretrained": self.pretrained,
        }
        best = self.evaluations.best
        save_checkpoint(
            self.folder.checkpoints,
            step,
            state,
            keep=self.config.keep_checkpoints,
            best=best["step"] if best else None,
        )

    def _resume(self) -> int:
        """Take over the newest checkpoint, if there is one; returns the steps done."""
        state = load_checkpoint(self.folder.checkpoints)
        self.processes.wait()  # nobody writes before all have read
        step = 0
        if state is not None:
            self.learner.load_state(state["learner"])
            self.tally.load_state(state["tally"])
            self.evaluations.load_state(state["evaluations"])
            self.pretrained = state["pretrained"]
            step = int(state["step"])
            console.say(f"continuing {self.folder.path} after step {step}")
        if self.processes.is_first:
            self.folder.take_best_back()
            self.folder.cut_log(-1 if self.evaluations.best is None else step)
        return step

    def _leave(self, step: int) -> None:
        """Asked to stop: save, so that nothing done so far is lost, and go.

        A run that is not stopped does not evaluate at this step. So if its network is the best, it
        is shown as such until the run is resumed, but not counted as such from then on.
        """
        if self.processes.is_first and read_jsonl(self.folder.log_file)[-1]["step"] != step:
            self._save(step)
            found = self.evaluations.measure(step)
            if self.evaluations.is_best(found):
                self.folder.set_best_aside()
                self.evaluations.save_best(step, found)
        self._say_good_bye(
            f"after step {step}. {self.folder.best_model} is the best network so far"
        )

    def _leave_pretraining(self, total: int) -> None:
        """Asked to stop before the generator has learned anything: leave it as it is."""
        self._save(0)
        if self.processes.is_first:
            self.evaluations.save_best(0, self.evaluations.measure(0))
        self._say_good_bye(
            f"after {self.pretrained} of {total} steps of the discriminator's pre-training. "
            f"{self.folder.best_model} is the network before training"
        )

    def _say_good_bye(self, where: str) -> None:
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
        left = steps * step_s + steps / self.config.evaluate_every * self.evaluation_s
        console.say(f"{step_s:.2g} s a step: about {console.duration(left)} to go")
        if self.device.type == "cpu" and left > _LONG_RUN_S:
            console.warn(
                f"Without a GPU this run takes about {console.duration(left)}. "
                "`dpedkit train SHARDS --recipe cpu` trains a smaller network in minutes."
            )

    def _summary(self) -> TrainSummary:
        best = self.evaluations.best
        assert best is not None
        for warning in guards.judge(best, self.untouched):
            self.evaluations.warn(warning)
        return TrainSummary(
            folder=self.folder.path,
            model=self.folder.best_model,
            last=self.folder.last_model,
            steps=self.config.steps,
            best_step=int(best["step"]),
            psnr=best["psnr"],
            ms_ssim=best["ms_ssim"],
            untouched_psnr=self.untouched["psnr"],
            untouched_ms_ssim=self.untouched["ms_ssim"],
            content=self.evaluations.training["content"]["loss"],
            warnings=self.evaluations.warnings,
        )
