"""The training loop: generator step, discriminator step, evaluation, checkpoint.

Everything random is a function of the seed and the step, so a run that was killed and resumed
ends as the uninterrupted one does, bit for bit on a CPU.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpedkit import console
from dpedkit.atomic import remove_unfinished_below
from dpedkit.device import choose_device
from dpedkit.errors import DpedkitError
from dpedkit.manifest import Journal, read_jsonl
from dpedkit.metrics import MIN_SIDE
from dpedkit.models.discriminator import to_grey
from dpedkit.models.files import save_model
from dpedkit.shards.index import fingerprint
from dpedkit.shards.reader import SplitReader, open_split
from dpedkit.train import guards
from dpedkit.train.checkpoint import load_checkpoint, save_checkpoint
from dpedkit.train.config import TrainConfig
from dpedkit.train.content import ContentChoice, choose_content, load_vgg
from dpedkit.train.data import TrainBatches, coins
from dpedkit.train.interruption import stop_when_asked
from dpedkit.train.learner import Learner, clip_gradients
from dpedkit.train.losses import discriminator_loss
from dpedkit.train.monitor import Measurement, Monitor
from dpedkit.train.objective import Objective
from dpedkit.train.runfolder import RunFolder, existing_run, new_run
from dpedkit.train.scalars import ScalarLog
from dpedkit.train.summary import TrainSummary, decibel

_LONG_RUN_S = 20 * 60.0


@dataclass
class _Tally:
    """Sums since the last evaluation, for the log; part of every checkpoint."""

    steps: int = 0
    loss: float = 0.0
    right: float = 0.0
    judged: int = 0

    def loss_mean(self) -> float | None:
        return self.loss / self.steps if self.steps else None

    def accuracy(self) -> float | None:
        return self.right / self.judged if self.judged else None


def train(
    shards: Path,
    config: TrainConfig,
    *,
    name: str | None = None,
    runs: Path = Path("runs"),
    resume: bool = False,
    overwrite: bool = False,
) -> TrainSummary:
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

    Raises
    ------
    DpedkitError
        If there is nothing to train on, the run exists, was begun with other settings, or its
        loss stops being finite.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the step is finished and the run is saved.
    """
    shards = Path(shards)
    reader = _open_train_split(shards)
    run = existing_run(runs, name) if resume else None
    if run is not None:
        content = run.check_same(config, shards)
        remove_unfinished_below(run.path)
    else:
        run = new_run(runs, name, overwrite)
        content = choose_content(config)
    device = choose_device(config.device)
    objective = Objective(config, _load_vgg(content, config, device))
    learner = Learner(config, reader, device)
    if not run.config_file.is_file():
        run.begin(config, shards, content)
    with ScalarLog(run.path) as scalars:
        return _Training(run, config, content, shards, reader, objective, learner, scalars).run()


class _Training:
    """One run from its first or its newest checkpoint to its end."""

    def __init__(
        self,
        folder: RunFolder,
        config: TrainConfig,
        content: ContentChoice,
        shards: Path,
        reader: SplitReader,
        objective: Objective,
        learner: Learner,
        scalars: ScalarLog,
    ) -> None:
        self.folder, self.config, self.content = folder, config, content
        self.objective, self.learner, self.scalars = objective, learner, scalars
        self.device = next(learner.generator.parameters()).device
        self.batches = TrainBatches(
            reader,
            config.batch,
            config.seed,
            config.augment,
            self.device,
            shuffle=config.shuffle,
            loader=config.loader,
        )
        before = learner.generator.card  # empty unless the run starts from a model file
        seen = before.get("training", {}).get("shards", [None]) if config.init else []
        self.seen = sorted({fingerprint(shards), *seen}, key=str)
        val = open_split(shards, "val")
        self.has_val = len(val) > 0
        if not self.has_val:
            console.warn(
                f"{shards} has no val split: evaluations look at patches that are trained on, and "
                "the last network counts as the best. `dpedkit evaluate` tells more."
            )
        self.monitor = Monitor(
            val if self.has_val else reader, config.evaluate_patches, config.batch, self.device
        )
        self.tally = _Tally()
        self.best: dict[str, Any] | None = None
        self.accuracies: list[float] = []
        self.warnings: list[str] = []
        self.last_saved = time.monotonic()
        self.evaluation_s = 0.0

    def run(self) -> TrainSummary:
        resumed_at = self._resume()
        start = resumed_at or 0
        self.untouched = self.monitor.untouched()
        console.say(
            f"{self.folder.path}: {self.config.generator} on {self.device}, "
            f"{self.config.steps} steps of {self.config.batch} patch pairs"
        )
        with (
            Journal(self.folder.log_file) as self.log,
            stop_when_asked() as stop,
            console.progress("train", self.config.steps, "steps", done=start) as bar,
        ):
            if resumed_at is None:
                self._pretrain_discriminator(stop)
                evaluating = time.monotonic()
                self._evaluate(0)
                self._save(0)
                self.evaluation_s = time.monotonic() - evaluating
            for step in range(start, self.config.steps):
                began = time.monotonic()
                terms = self._step(step)
                if step == start + 1:  # the first step is slower: memory, caches
                    self._announce(step + 1, time.monotonic() - began)
                done = step + 1
                bar.advance(note=f"loss {sum(terms.values()):.4g}")
                if done % self.config.evaluate_every == 0 or done == self.config.steps:
                    self._evaluate(done)
                    self._save(done)
                elif time.monotonic() - self.last_saved >= self.config.checkpoint_seconds:
                    self._save(done)
                if stop.is_set() and done < self.config.steps:
                    self._leave(done)
        assert self.best is not None
        for warning in guards.judge(self.best, self.untouched):
            self._warn(warning)
        return self._summary()

    def _step(self, step: int) -> dict[str, float]:
        """One step of the generator, then of the discriminator; returns the weighted terms."""
        self.learner.set_learning_rate(step)
        phone, dslr = self.batches.at(step)  # (B, 3, S, S) each
        enhanced, terms = self._generator_step(step, phone, dslr)
        if self.learner.discriminator is not None:
            self._discriminator_step(step, enhanced.detach(), dslr)
        self.learner.update_average(step)
        self.tally.steps += 1
        self.tally.loss += sum(terms.values())
        return terms

    def _generator_step(
        self, step: int, phone: Tensor, dslr: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        learner = self.learner
        with self._precision():
            enhanced = learner.generator(phone)
        enhanced = enhanced.float()
        log_odds = None
        if learner.discriminator is not None:
            learner.discriminator.requires_grad_(False)
            with self._precision():
                log_odds = learner.discriminator(to_grey(enhanced))
            log_odds = log_odds.float()
        terms = self.objective.terms(enhanced, dslr, log_odds)
        values = {name: term.item() for name, term in terms.items()}
        losses = {f"{name} loss": value for name, value in values.items()}
        guards.check_finite(step + 1, losses, self.folder.last_model)
        learner.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        clip_gradients(learner.generator, self.config.clip)
        learner.optimiser.step()
        return enhanced, values

    def _discriminator_step(self, step: int, enhanced: Tensor, dslr: Tensor) -> None:
        """Cross-entropy on enhanced and DSLR patches (paper, section III-A.2).

        The authors' code shows either the enhanced or the DSLR patch of each pair, at random.
        """
        discriminator, optimiser = self.learner.discriminator, self.learner.discriminator_optimiser
        assert discriminator is not None and optimiser is not None
        discriminator.requires_grad_(True)
        if self.config.losses == "authors":
            coin = torch.from_numpy(coins(self.config.seed, step, len(dslr))).to(self.device)
            shown = [(torch.where(coin[:, None, None, None], dslr, enhanced), coin)]
        else:
            real = torch.ones(len(dslr), dtype=torch.bool, device=self.device)
            shown = [(dslr, real), (enhanced, ~real)]
        losses = []
        for images, is_dslr in shown:
            with self._precision():
                log_odds = discriminator(to_grey(images))
            losses.append(discriminator_loss(log_odds.float(), is_dslr))
            self.tally.right += ((log_odds > 0) == is_dslr).sum().item()
            self.tally.judged += len(images)
        loss = torch.stack(losses).mean()
        value = {"discriminator's loss": loss.item()}
        guards.check_finite(step + 1, value, self.folder.last_model)
        optimiser.zero_grad()
        loss.backward()
        clip_gradients(discriminator, self.config.clip)
        optimiser.step()

    def _pretrain_discriminator(self, stop: threading.Event) -> None:
        """Phone against DSLR patches, before the generator starts (paper, section III-A.2)."""
        if self.learner.discriminator is None:
            return
        for step in range(self.config.discriminator_pretraining):
            if stop.is_set():
                raise KeyboardInterrupt
            phone, dslr = self.batches.at(step)
            self._discriminator_step(step, phone, dslr)
        self.tally = _Tally()

    def _evaluate(self, step: int) -> None:
        """Measure, log the paper's columns, keep the network if its MS-SSIM is the best so far."""
        found = self._measure(step)
        row = {
            "step": step,
            "discriminator_accuracy_train": self.tally.accuracy(),
            "discriminator_accuracy_test": found.discriminator_accuracy,
            "generator_loss_train": self.tally.loss_mean(),
            "generator_loss_test": found.loss,
            "psnr": found.psnr,
            "ms_ssim": found.ms_ssim,
        }
        self.log.append(row)
        self.scalars.add(step, row)
        self.monitor.write_samples(
            self.folder.samples / f"step-{step:06d}.png", self.learner.best_guess
        )
        console.say(f"step {step}: PSNR {decibel(found.psnr)} dB, MS-SSIM {found.ms_ssim:.4f}")
        accuracy = self.tally.accuracy()
        if accuracy is not None:
            self.accuracies.append(accuracy)
        self.tally = _Tally()
        self._keep_if_best(step, found)
        for warning in [
            *guards.check_output(step, found.spread),
            *guards.check_discriminator(self.accuracies),
        ]:
            self._warn(warning)

    def _measure(self, step: int) -> Measurement:
        found = self.monitor.measure(
            self.learner.best_guess, self.learner.discriminator, self.objective
        )
        values = {"loss in the evaluation": found.loss, "MS-SSIM": found.ms_ssim}
        if found.psnr is not None:
            values["PSNR"] = found.psnr
        guards.check_finite(step, values, self.folder.last_model)
        return found

    def _keep_if_best(self, step: int, found: Measurement) -> None:
        if self._is_best(found):
            self.best = {"step": step, "psnr": found.psnr, "ms_ssim": found.ms_ssim}
            save_model(self.folder.best_model, self.learner.best_guess, self._card(step, found))

    def _is_best(self, found: Measurement) -> bool:
        # MS-SSIM, not PSNR: on the few scenes of a val split, PSNR mostly says how well their
        # exposure happened to be guessed (measured: it chose networks 0.3 dB worse on new scenes).
        if self.best is None or not self.has_val:
            return True
        return bool(found.ms_ssim >= self.best["ms_ssim"])

    def _save(self, step: int) -> None:
        """The newest network, then the whole state of the run."""
        save_model(self.folder.last_model, self.learner.best_guess, self._card(step, None))
        state = {
            "learner": self.learner.state(),
            "tally": dict(self.tally.__dict__),
            "best": self.best,
            "accuracies": self.accuracies,
            "warnings": self.warnings,
        }
        save_checkpoint(self.folder.checkpoints, step, state)
        self.last_saved = time.monotonic()

    def _resume(self) -> int | None:
        """Take over the newest checkpoint; returns the steps done, or None if there is none."""
        state = load_checkpoint(self.folder.checkpoints)
        if state is None:
            self.folder.cut_log(-1)
            return None
        self.folder.take_best_back()
        self.learner.load_state(state["learner"])
        self.tally = _Tally(**state["tally"])
        self.best, self.accuracies = state["best"], state["accuracies"]
        self.warnings = state["warnings"]
        step = int(state["step"])
        self.folder.cut_log(step)
        console.say(f"continuing {self.folder.path} after step {step}")
        return step

    def _leave(self, step: int) -> None:
        """Asked to stop: save, so that nothing done so far is lost, and go.

        A run that is not stopped does not evaluate at this step. So if its network is the best, it
        is shown as such until the run is resumed, but not counted as such from then on.
        """
        if read_jsonl(self.folder.log_file)[-1]["step"] != step:
            found = self._measure(step)
            self._save(step)
            if self._is_best(found):
                self.folder.set_best_aside()
                save_model(self.folder.best_model, self.learner.best_guess, self._card(step, found))
        console.say(
            f"Stopped after step {step}. {self.folder.best_model} is the best network so far; "
            f"continue with the same command and --name {self.folder.path.name} --resume."
        )
        raise KeyboardInterrupt

    def _announce(self, done: int, step_s: float) -> None:
        """Say how long the run will take, and what is faster, where it is long."""
        steps = self.config.steps - done
        evaluation_s = self.evaluation_s
        left = steps * step_s + steps / self.config.evaluate_every * evaluation_s
        console.say(f"{step_s:.2g} s a step: about {console.duration(left)} to go")
        if self.device.type == "cpu" and left > _LONG_RUN_S:
            console.warn(
                f"Without a GPU this run takes about {console.duration(left)}. "
                "`dpedkit train SHARDS --recipe cpu` trains a smaller network in minutes."
            )

    def _card(self, step: int, found: Measurement | None) -> dict[str, Any]:
        training: dict[str, Any] = {
            "step": step,
            "config": self.config.to_dict(),
            "content": self.content.to_dict(),
            "shards": self.seen,
        }
        if found is not None:
            training |= {"psnr": found.psnr, "ms_ssim": found.ms_ssim}
        return {"training": training}

    def _precision(self) -> torch.autocast:
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _warn(self, warning: str) -> None:
        console.warn(warning)
        self.warnings.append(warning)

    def _summary(self) -> TrainSummary:
        assert self.best is not None
        return TrainSummary(
            folder=self.folder.path,
            model=self.folder.best_model,
            last=self.folder.last_model,
            steps=self.config.steps,
            best_step=int(self.best["step"]),
            psnr=self.best["psnr"],
            ms_ssim=self.best["ms_ssim"],
            untouched_psnr=self.untouched["psnr"],
            untouched_ms_ssim=self.untouched["ms_ssim"],
            content=self.content.loss,
            warnings=self.warnings,
        )


def _open_train_split(shards: Path) -> SplitReader:
    reader = open_split(shards, "train")
    if len(reader) == 0:
        raise DpedkitError(
            f"{shards} has no patches to train on; cut some with `dpedkit patches`, with a lower "
            "--min-corr if it found none."
        )
    if reader.patch_size < MIN_SIDE:
        raise DpedkitError(
            f"{shards} has patches of {reader.patch_size} px; training needs at least {MIN_SIDE}."
        )
    return reader


def _load_vgg(content: ContentChoice, config: TrainConfig, device: torch.device) -> Any:
    vgg = load_vgg(content, config)
    return vgg if vgg is None else vgg.to(device)
