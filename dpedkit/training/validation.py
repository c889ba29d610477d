"""Validation during training: always on the same patches, which are never trained on.

Each validation logs the paper's columns, draws a picture of samples, keeps the network if it is the
best so far, and warns of training that goes wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpedkit import metrics
from dpedkit.colourmap import ColourMap, fit_colour_map_to
from dpedkit.core import console
from dpedkit.core.device import beside, to_images
from dpedkit.core.publication import statements_of
from dpedkit.core.wording import decibel
from dpedkit.images import write_photo
from dpedkit.models.discriminator import Discriminator, to_grey
from dpedkit.models.files import COLOUR_POLYNOMIAL, DATA, PUBLICATION, STATISTICS, save_model
from dpedkit.models.generator import Generator
from dpedkit.models.photo_aware import guides_for
from dpedkit.photomap import PatchGuides
from dpedkit.photostatistics import statistics_of_training
from dpedkit.shards.index import fingerprint
from dpedkit.shards.origin import origin_of
from dpedkit.shards.provenance import without_paths
from dpedkit.shards.reader import SplitReader, open_split
from dpedkit.shards.sampling import spread_indices
from dpedkit.shards.scenes import scene_names
from dpedkit.training.config import TrainConfig
from dpedkit.training.content import ContentChoice
from dpedkit.training.metric_log import MetricLog
from dpedkit.training.objective import Objective
from dpedkit.training.run_folder import RunFolder
from dpedkit.training.state import TrainingState
from dpedkit.training.step import RunningMeans, check_finite

_SAMPLES = 6
_GAP = 4  # px between the patches of a sample picture
# A discriminator that is always right teaches the generator nothing; one that guesses, neither.
_TOO_RIGHT, _GUESSING = 0.98, 0.52
_VALIDATIONS_IN_A_ROW = 3
_CONSTANT_BELOW = 2e-3  # standard deviation within a patch, in [0, 1]: less than half a grey level


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
        Step, PSNR and MS-SSIM of the best network; None before the first validation.
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
            console.warn(
                f"{shards} has no val split, so validation uses patches of the train split, and "
                "the last network counts as the best. Measure it with `dpedkit evaluate`."
            )
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
            **found.over_scenes,
        }
        said = f"step {step}: PSNR {decibel(found.psnr)} dB, MS-SSIM {found.ms_ssim:.4f}"
        if self.state.ema is not None:
            # The EMA model is what counts; the newest weights show what averaging brings.
            raw = self.patches.quality(self.state.generator)
            row |= {f"raw_{name}": value for name, value in raw.items()}
            said += f" (unaveraged {decibel(raw['psnr'])} dB, {raw['ms_ssim']:.4f})"
        log.append(row)
        self.patches.write_samples(self.folder.sample(step), self.state.model)
        console.say(said)
        if (accuracy := means.accuracy()) is not None:
            self.accuracies.append(accuracy)
        if self.is_best(found):
            self.best = {"step": step, "psnr": found.psnr, "ms_ssim": found.ms_ssim}
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
        scores = {"psnr": found.psnr, "ms_ssim": found.ms_ssim}
        self._save(self.folder.best_model, step, scores)

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
            "untouched phone": self.patches.untouched(),
            "colour polynomial": self.patches.mapped(self._colour_map),
        }

    def _save(self, path: Path, step: int, scores: dict[str, Any]) -> None:
        training = {"step": step, **self.training, **scores, "baselines": self._baselines}
        card = {"training": training, **self.about, COLOUR_POLYNOMIAL: self._colour_map.to_dict()}
        save_model(path, self.state.model, card)


@dataclass(frozen=True)
class Measurement:
    """What one validation found.

    Attributes
    ----------
    loss : float
        The generator's loss, the mean over batches.
    discriminator_accuracy : float or None
    psnr : float or None
        Mean over images, the authors' per-image procedure, of those that differ from the DSLR's;
        None where none does.
    ms_ssim : float
        Mean over images.
    spread : float
        Mean standard deviation within an enhanced patch.
    over_scenes : dict
        PSNR and MS-SSIM as the mean over the scenes of each scene's mean, as they are logged;
        empty if it is not known which patches show the same scene.
    """

    loss: float
    discriminator_accuracy: float | None
    psnr: float | None
    ms_ssim: float
    spread: float
    over_scenes: dict[str, float | None] = field(default_factory=dict)


class ValidationPatches:
    """A fixed choice of patches of one split, and how a network does on them.

    Parameters
    ----------
    reader : SplitReader
    count, batch : int
        Patches to look at, and how many at a time.
    device : torch.device
    guides : PatchGuides, optional
        The planes that the network needs beside those of the phone patches.
    """

    def __init__(
        self,
        reader: SplitReader,
        count: int,
        batch: int,
        device: torch.device,
        guides: PatchGuides | None = None,
    ) -> None:
        self.indices = spread_indices(len(reader), count)
        self.phone, self.dslr = reader.gather(self.indices)
        self.batch, self.device, self.guides = batch, device, guides
        names = scene_names(reader.folder)
        scenes = [names[pair] for pair in reader.pair[self.indices]]
        known = None not in scenes
        self.scenes = np.unique(np.array(scenes, str), return_inverse=True)[1] if known else None

    def measure(
        self, generator: Generator, discriminator: Discriminator | None, objective: Objective
    ) -> Measurement:
        """Measure networks, which are left in the mode that they were in."""
        losses, right, psnr, ms_ssim, spread = [], [], [], [], []
        with _evaluation_mode(generator, discriminator):
            for phone, dslr in self._batches():
                enhanced = generator(phone).float()
                logits = None
                if discriminator is not None:
                    logits = discriminator(to_grey(enhanced))
                    right += [logits < 0, discriminator(to_grey(dslr)) > 0]
                terms = objective.terms(enhanced, dslr, logits)
                losses.append(torch.stack(list(terms.values())).sum())
                psnr.append(metrics.psnr(enhanced.clamp(0, 1), dslr))
                ms_ssim.append(metrics.ssim_and_ms_ssim(enhanced, dslr)[1])
                spread.append(enhanced.std(dim=(2, 3)).mean(dim=1))
        return Measurement(
            loss=torch.stack(losses).mean().item(),
            discriminator_accuracy=_mean(torch.cat(right)) if right else None,
            psnr=_mean_of_differing(torch.cat(psnr)),
            ms_ssim=_mean(torch.cat(ms_ssim)),
            spread=_mean(torch.cat(spread)),
            over_scenes=self._over_scenes({"psnr": torch.cat(psnr), "ms_ssim": torch.cat(ms_ssim)}),
        )

    def _over_scenes(self, values: dict[str, Tensor]) -> dict[str, float | None]:
        """Means over the scenes, of scores `(N,)` of all patches; without infinite ones."""
        if self.scenes is None:
            return {}
        found = {}
        for name, scores in values.items():
            array = scores.cpu().double().numpy()
            kept = ~np.isposinf(array)
            counts = np.bincount(self.scenes[kept])
            sums = np.bincount(self.scenes[kept], array[kept])
            means = sums[counts > 0] / counts[counts > 0]
            found[f"{name}_over_scenes"] = float(means.mean()) if len(means) else None
        return found

    def quality(self, generator: Generator) -> dict[str, Any]:
        """PSNR and MS-SSIM of enhanced patches, as `measure` has them."""
        with _evaluation_mode(generator):
            return self._quality_of(lambda phone: generator(phone).float())

    def untouched(self) -> dict[str, Any]:
        """PSNR and MS-SSIM of the phone patches as they are."""
        return self._quality_of(lambda phone: phone[:, :3])

    def mapped(self, colours: ColourMap) -> dict[str, Any]:
        """PSNR and MS-SSIM of the phone patches with their colours mapped."""

        def enhance(phone: Tensor) -> Tensor:
            pixels = phone[:, :3].permute(0, 2, 3, 1).cpu().numpy()
            return torch.from_numpy(colours.apply(pixels)).to(phone).permute(0, 3, 1, 2)

        return self._quality_of(enhance)

    def _quality_of(self, enhance: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        psnr, ms_ssim = [], []
        for phone, dslr in self._batches():
            enhanced = enhance(phone)
            psnr.append(metrics.psnr(enhanced.clamp(0, 1), dslr))
            ms_ssim.append(metrics.ssim_and_ms_ssim(enhanced, dslr)[1])
        return {"psnr": _mean_of_differing(torch.cat(psnr)), "ms_ssim": _mean(torch.cat(ms_ssim))}

    def write_samples(self, path: Path, generator: Generator) -> None:
        """A picture of a few patches: phone on the left, enhanced in the middle, DSLR right."""
        chosen = spread_indices(len(self.phone), _SAMPLES)
        with _evaluation_mode(generator):
            enhanced = generator(self._seen(chosen))
        levels = enhanced.float().clamp(0, 1).mul(255).round().to(torch.uint8)
        columns = [
            self.phone[chosen], levels.permute(0, 2, 3, 1).cpu().numpy(), self.dslr[chosen]
        ]  # fmt: skip
        write_photo(path, _grid(columns))

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.phone), self.batch):
            rows = slice(start, start + self.batch)
            yield self._seen(rows), to_images(self.dslr[rows], self.device)

    def _seen(self, rows: slice | NDArray[np.int64]) -> Tensor:
        """Phone patches as the network takes them."""
        phone = to_images(self.phone[rows], self.device)
        return phone if self.guides is None else beside(phone, self.guides(self.indices[rows]))


def check_output(step: int, spread: float) -> list[str]:
    """Warn of a network that gives every pixel of a patch the same colour.

    Parameters
    ----------
    step : int
    spread : float
        Standard deviation within the enhanced patches, in [0, 1].
    """
    if step == 0 or spread >= _CONSTANT_BELOW:
        return []
    return [
        f"At step {step} the network's output is one flat colour: it has collapsed. Start again "
        "with a lower --learning-rate or another --seed."
    ]


def check_discriminator(accuracies: Sequence[float]) -> list[str]:
    """Warn once when the discriminator has been always right, or guessing, for a while.

    Parameters
    ----------
    accuracies : sequence of float
        On training patches, one for each validation so far.
    """
    for words, cure, is_so in (
        ("nearly always right", "a lower --texture-weight", lambda a: a > _TOO_RIGHT),
        ("only guessing", "--discriminator-pretraining 200", lambda a: a < _GUESSING),
    ):
        streak = 0
        for accuracy in reversed(accuracies):
            if not is_so(accuracy):
                break
            streak += 1
        if streak == _VALIDATIONS_IN_A_ROW:
            return [
                f"The discriminator has been {words} ({accuracies[-1]:.0%}) over the last "
                f"{streak} validations, so the texture loss teaches the network little; try {cure}."
            ]
    return []


def check_gain(
    best: Mapping[str, float | None], untouched: Mapping[str, float | None]
) -> list[str]:
    """Warn of a best network that is further from the DSLR than the untouched phone patches.

    Parameters
    ----------
    best, untouched : mapping with "psnr" and "ms_ssim"
        None stands for a PSNR without limit.
    """
    worse = []
    for key, name, unit, digits in (("psnr", "PSNR", " dB", 2), ("ms_ssim", "MS-SSIM", "", 4)):
        ours, theirs = (math.inf if v is None else v for v in (best[key], untouched[key]))
        if ours < theirs:
            worse.append(f"{name} {ours:.{digits}f} against {theirs:.{digits}f}{unit}")
    if not worse:
        return []
    return [
        "On the val split the network is further from the DSLR than the untouched phone patches "
        f"({'; '.join(worse)}): train longer, or use the recipe that starts from the colour map "
        "(--recipe cpu)."
    ]


@contextmanager
def _evaluation_mode(*networks: nn.Module | None) -> Iterator[None]:
    """Without gradients and in evaluation mode; each network then goes back to its own mode."""
    modes = [(network, network.training) for network in networks if network is not None]
    for network, _ in modes:
        network.eval()
    with torch.no_grad():
        yield
    for network, mode in modes:
        network.train(mode)


def _grid(columns: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Columns of (N, S, S, 3) patches side by side on white: (H, W, 3)."""
    rows, side = columns[0].shape[:2]
    pitch = side + _GAP
    canvas = np.full((rows * pitch - _GAP, len(columns) * pitch - _GAP, 3), 255, np.uint8)
    for x, column in enumerate(columns):
        for y, patch in enumerate(column):
            canvas[y * pitch : y * pitch + side, x * pitch : x * pitch + side] = patch
    return canvas


def _mean(values: Tensor) -> float:
    return values.cpu().double().mean().item()


def _mean_of_differing(psnr: Tensor) -> float | None:
    """Mean without images equal to the DSLR's; NaN stays NaN."""
    differing = psnr[~psnr.isposinf()]
    return _mean(differing) if len(differing) else None
