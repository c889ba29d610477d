"""What a run shows of itself: log lines, sample pictures, its networks as files, warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpedkit.core import console
from dpedkit.core.manifest import Journal
from dpedkit.models.files import save_model
from dpedkit.train import guards
from dpedkit.train.learner import Learner
from dpedkit.train.monitor import Measurement, Monitor
from dpedkit.train.objective import Objective
from dpedkit.train.runfolder import RunFolder
from dpedkit.train.scalars import ScalarLog
from dpedkit.train.summary import decibel
from dpedkit.train.tally import Tally


class Evaluations:
    """The evaluations of a run, and the networks that it keeps.

    Parameters
    ----------
    folder : RunFolder
    learner : Learner
    objective : Objective
    monitor : Monitor
    scalars : ScalarLog
    training : dict
        What the cards of the networks say of the training, besides the step and the scores.
    newest_is_best : bool
        Where there are no patches to choose by.

    Attributes
    ----------
    best : dict or None
        Step, PSNR and MS-SSIM of the best network; None before the first evaluation.
    warnings : list of str
    """

    def __init__(
        self,
        folder: RunFolder,
        learner: Learner,
        objective: Objective,
        monitor: Monitor,
        scalars: ScalarLog,
        training: dict[str, Any],
        *,
        newest_is_best: bool,
    ) -> None:
        self.folder, self.learner, self.objective = folder, learner, objective
        self.monitor, self.scalars, self.training = monitor, scalars, training
        self.newest_is_best = newest_is_best
        self.best: dict[str, Any] | None = None
        self.accuracies: list[float] = []
        self.warnings: list[str] = []

    def evaluate(self, step: int, tally: Tally, log: Journal) -> None:
        """Measure, log the paper's columns, keep the network if its MS-SSIM is the best so far."""
        found = self.measure(step)
        row: dict[str, Any] = {
            "step": step,
            "discriminator_accuracy_train": tally.accuracy(),
            "discriminator_accuracy_test": found.discriminator_accuracy,
            "generator_loss_train": tally.loss(),
            "generator_loss_test": found.loss,
            "psnr": found.psnr,
            "ms_ssim": found.ms_ssim,
        }
        said = f"step {step}: PSNR {decibel(found.psnr)} dB, MS-SSIM {found.ms_ssim:.4f}"
        if self.learner.average is not None:
            # The average is what counts; the newest weights show what averaging brings.
            raw = self.monitor.quality(self.learner.generator)
            row |= {f"raw_{name}": value for name, value in raw.items()}
            said += f" (unaveraged {decibel(raw['psnr'])} dB, {raw['ms_ssim']:.4f})"
        log.append(row)
        self.scalars.add(step, row)
        self.monitor.write_samples(
            self.folder.samples / f"step-{step:06d}.png", self.learner.best_guess
        )
        console.say(said)
        if (accuracy := tally.accuracy()) is not None:
            self.accuracies.append(accuracy)
        if self.is_best(found):
            self.best = {"step": step, "psnr": found.psnr, "ms_ssim": found.ms_ssim}
            self.save_best(step, found)
        for warning in [
            *guards.check_output(step, found.spread),
            *guards.check_discriminator(self.accuracies),
        ]:
            self.warn(warning)

    def measure(self, step: int) -> Measurement:
        """How the networks do on the patches that are kept for that.

        Raises
        ------
        DpedkitError
            If a result is not a finite number.
        """
        found = self.monitor.measure(
            self.learner.best_guess, self.learner.discriminator, self.objective
        )
        values = {"loss in the evaluation": found.loss, "MS-SSIM": found.ms_ssim}
        if found.psnr is not None:
            values["PSNR"] = found.psnr
        guards.check_finite(step, values, self.folder.last_model)
        return found

    def is_best(self, found: Measurement) -> bool:
        """Whether a network is at least as good as all evaluated before."""
        # MS-SSIM, not PSNR: on the few scenes of a val split, PSNR mostly says how well their
        # exposure happened to be guessed (measured: it chose networks 0.3 dB worse on new scenes).
        if self.best is None or self.newest_is_best:
            return True
        return bool(found.ms_ssim >= self.best["ms_ssim"])

    def save_best(self, step: int, found: Measurement) -> None:
        """Write the network as the best one, with its scores."""
        scores = {"psnr": found.psnr, "ms_ssim": found.ms_ssim}
        self._save(self.folder.best_model, step, scores)

    def save_last(self, step: int) -> None:
        """Write the network as the newest one."""
        self._save(self.folder.last_model, step, {})

    def warn(self, warning: str) -> None:
        """Say what is wrong, now and at the end."""
        console.warn(warning)
        self.warnings.append(warning)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best": self.best, "accuracies": self.accuracies, "warnings": self.warnings}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.best, self.accuracies = state["best"], state["accuracies"]
        self.warnings = state["warnings"]

    def _save(self, path: Path, step: int, scores: dict[str, Any]) -> None:
        card = {"training": {"step": step, **self.training, **scores}}
        save_model(path, self.learner.best_guess, card)
