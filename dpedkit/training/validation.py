"""Validation during training: what is logged, which network is kept, and what is said of it.

It is always on the same patches, which are never trained on (`validation_patches.py`).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from dpedkit.colourmap import ColourMap, fit_colour_map_to
from dpedkit.core import console
from dpedkit.core.publication import statements_of
from dpedkit.core.wording import decibel
from dpedkit.models.files import COLOUR_POLYNOMIAL, DATA, PUBLICATION, STATISTICS, save_model
from dpedkit.models.photo_aware import guides_for
from dpedkit.photostatistics import statistics_of_training
from dpedkit.shards.index import fingerprint
from dpedkit.shards.origin import origin_of
from dpedkit.shards.provenance import without_paths
from dpedkit.shards.reader import SplitReader, open_split
from dpedkit.training.config import TrainConfig
from dpedkit.training.content import ContentChoice
from dpedkit.training.metric_log import MetricLog
from dpedkit.training.objective import Objective
from dpedkit.training.run_folder import RunFolder
from dpedkit.training.run_warnings import check_discriminator, check_output
from dpedkit.training.state import TrainingState
from dpedkit.training.step import RunningMeans, check_finite
from dpedkit.training.validation_patches import Measurement, ValidationPatches


class Validation:
    """The validations of a run, and the networks that it keeps.

    Parameters
    ----------
    folder : RunFolder
    state : TrainingState
    objective : Objective
        Of whole batches: validation is not divided among processes.
    patches : ValidationPatches
    training : dict
        What the cards of the networks say of the training, besides the step and the scores.
    train : SplitReader
    about : dict
        What else they say: where the patches come from, what their photos are like, and what is
        stated of the network.
    newest_is_best : bool
        If there are no patches to choose the best network by.

    Attributes
    ----------
    best : dict or None
        Step and scores of the best network; None before the first validation.
    warnings : list of str
    """

    def __init__(
        self,
        folder: RunFolder,
        state: TrainingState,
        objective: Objective,
        patches: ValidationPatches,
        training: dict[str, Any],
        train: SplitReader,
        about: dict[str, Any],
        *,
        newest_is_best: bool,
    ) -> None:
        self.folder, self.state, self.objective = folder, state, objective
        self.patches, self.training = patches, training
        self.train, self.about = train, about
        self.newest_is_best = newest_is_best
        self.best: dict[str, Any] | None = None
        self.accuracies: list[float] = []
        self.warnings: list[str] = []

    @classmethod
    def of_run(
        cls,
        config: TrainConfig,
        shards: Path,
        folder: RunFolder,
        content: ContentChoice,
        state: TrainingState,
        objective: Objective,
    ) -> Validation:
        """Validate on the val split, or on training patches if there is none."""
        before = state.generator.card  # empty unless the run starts from a model file
        seen = before.get("training", {}).get("shards", [None]) if config.init else []
        training: dict[str, Any] = {
            "config": without_paths(config.to_dict()),  # model files are published
            "content": content.to_dict(),
            "shards": sorted({fingerprint(shards), *seen}, key=str),
            "validated_on": "val",
        }
        train = open_split(shards, "train")
        reader = open_split(shards, "val")
        has_val = len(reader) > 0
        if not has_val:
            reader = train
            training["validated_on"] = "train"
        guides = guides_for(state.generator, reader)
        patches = ValidationPatches(
            reader, config.evaluate_patches, config.batch, state.device, guides
        )
        whole = Objective(config, objective.vgg)  # not divided among processes
        statements = folder.statements() | statements_of(config.notes())
        about = {
            DATA: origin_of(shards),
            STATISTICS: statistics_of_training(shards).to_dict(),
            PUBLICATION: statements,
        }
        return cls(
            folder, state, whole, patches, training, train, about, newest_is_best=not has_val
        )

    def validate(self, step: int, means: RunningMeans, log: MetricLog) -> None:
        """Measure, log the paper's columns, keep the network if its MS-SSIM is the best so far."""
        found = self.measure(step)
        row: dict[str, Any] = {
            "step": step,
            "discriminator_accuracy_train": means.accuracy(),
            "discriminator_accuracy_test": found.discriminator_accuracy,
            "generator_loss_train": means.loss(),
            "generator_loss_test": found.loss,
            "psnr": found.psnr,
            "ms_ssim": found.ms_ssim,
            **_over_scenes(found),
        }
        said = f"step {step}: PSNR {decibel(found.psnr)} dB, MS-SSIM {found.ms_ssim:.4f}"
        if self.state.ema is not None:
            # The EMA model is what counts; the newest weights show what averaging brings.
            raw = self.patches.quality(self.state.generator)
            row |= {"raw_psnr": raw.psnr, "raw_ms_ssim": raw.ms_ssim}
            said += f" (unaveraged {decibel(raw.psnr)} dB, {raw.ms_ssim:.4f})"
        log.append(row)
        self.patches.write_samples(self.folder.sample(step), self.state.model)
        console.say(said)
        if (accuracy := means.accuracy()) is not None:
            self.accuracies.append(accuracy)
        if self.is_best(found):
            self.best = {"step": step, **found.scores()}
            self.save_best(step, found)
        for warning in [
            *check_output(step, found.spread),
            *check_discriminator(self.accuracies),
        ]:
            self.warn(warning)

    def measure(self, step: int) -> Measurement:
        """How the networks do on the patches that are kept for that.

        Raises
        ------
        DpedkitError
            If a result is not a finite number.
        """
        found = self.patches.measure(self.state.model, self.state.discriminator, self.objective)
        values = {"loss in the validation": found.loss, "MS-SSIM": found.ms_ssim}
        if found.psnr is not None:
            values["PSNR"] = found.psnr
        check_finite(step, values, self.folder.last_model)
        return found

    def is_best(self, found: Measurement) -> bool:
        """Whether a network is at least as good as all validated before."""
        # MS-SSIM, not PSNR: on the few scenes of a val split, PSNR mostly says how well their
        # exposure happened to be guessed (measured: it chose networks 0.3 dB worse on new scenes).
        if self.best is None or self.newest_is_best:
            return True
        return bool(found.ms_ssim >= self.best["ms_ssim"])

    def save_best(self, step: int, found: Measurement) -> None:
        """Write the network as the best one, with its scores."""
        self._save(self.folder.best_model, step, found.scores())

    def save_last(self, step: int) -> None:
        """Write the network as the newest one."""
        self._save(self.folder.last_model, step, {})

    def warn(self, warning: str) -> None:
        """Say what is wrong, now and at the end."""
        console.warn(warning)
        self.warnings.append(warning)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best": self.best, "accuracies": self.accuracies, "warnings": self.warnings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.best, self.accuracies = state["best"], state["accuracies"]
        self.warnings = state["warnings"]

    @cached_property
    def _colour_map(self) -> ColourMap:
        """What `dpedkit evaluate` compares the network with, whatever it is measured on."""
        return fit_colour_map_to(self.train)

    @cached_property
    def _baselines(self) -> dict[str, Any]:
        """What the scores of the validations are compared with in the report of the run."""
        return {
            "untouched phone": self.patches.untouched().scores(),
            "colour polynomial": self.patches.mapped(self._colour_map).scores(),
        }

    def _save(self, path: Path, step: int, scores: dict[str, Any]) -> None:
        training = {"step": step, **self.training, **scores, "baselines": self._baselines}
        card = {"training": training, **self.about, COLOUR_POLYNOMIAL: self._colour_map.to_dict()}
        save_model(path, self.state.model, card)


def _over_scenes(found: Measurement) -> dict[str, float | None]:
    """The means over the scenes and their intervals, as they are logged."""
    return {
        f"{name}_over_scenes{end}": value
        for name, one in found.over_scenes.items()
        for end, value in (("", one.mean), ("_low", one.low), ("_high", one.high))
    }
