"""Run a sweep: one training after the other, each left alone once it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dpedkit import stages
from dpedkit.core import console
from dpedkit.core.atomic import make_folder, write_json
from dpedkit.core.errors import DpedkitError, OutputExistsError, UsageError
from dpedkit.core.lock import locked
from dpedkit.core.manifest import read_json
from dpedkit.core.methods import NETWORK, POLYNOMIAL
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.evaluation.evaluation import SplitScores
from dpedkit.shards import split_counts
from dpedkit.shards.config import FoldConfig
from dpedkit.shards.conversion import fold_shards
from dpedkit.shards.index import fingerprint
from dpedkit.sweep.grid import Variant, variants_of
from dpedkit.sweep.results import Score, SweepSummary
from dpedkit.training.config import TrainConfig


@dataclass(frozen=True)
class _Run:
    """One training of a sweep, and what its network is measured on."""

    variant: Variant
    config: TrainConfig
    fold: int | None
    shards: Path
    split: str

    @property
    def name(self) -> str:
        fold = "" if self.fold is None else f"-fold-{self.fold}"
        return f"{self.variant.file_name}-seed-{self.config.seed}{fold}"


def run_sweep(
    recipe: str,
    folder: Path | None = None,
    output: Path | None = None,
    *,
    changes: Sequence[str] = (),
    seeds: int = 1,
    folds: int | None = None,
    split: str = "val",
) -> SweepSummary:
    """Train a recipe with every combination of some settings, and compare the networks.

    What is done is found again in `output`, so the same call continues a sweep that was stopped,
    and one with more values, seeds or folds only does what is new.

    Parameters
    ----------
    recipe, folder
        As for `dpedkit.recipe.read_recipe`.
    output : Path, optional
        Folder of the sweep (default: `sweeps/NAME` in the recipe's folder).
    changes : sequence of str
        Each `train.KEY=VALUE,VALUE,...`.
    seeds : int
        Number of seeds, counted up from the recipe's.
    folds : int, optional
        Cross-validate: divide the scenes of the train and val splits into this many folds, train
        on all but one, and measure on that one. The test split is never read.
    split : str
        What to measure without cross-validation: "val" or "test".

    Raises
    ------
    UsageError
        If the recipe or a value is faulty.
    DpedkitError
        If the shards cannot be read or have nothing to measure, or a run in the folder was made
        from other patches or settings.
    """
    variants = variants_of(recipe, folder, changes)
    name = Path(recipe).stem
    step = variants[0].step
    output = output or step.output.parent.parent / "sweeps" / name
    for variant in variants:
        counts = split_counts(variant.step.paths["shards"])
        if folds is None and not counts[split]:
            raise DpedkitError(
                f"{variant.step.paths['shards']} has no patches in the {split} split to measure; "
                "use --cross-validate, which needs none."
            )
    with locked(output):
        runs = list(_runs(variants, output, seeds, folds, split))
        scores = []
        for number, run in enumerate(runs, start=1):
            console.say(f"sweep: {number} of {len(runs)}: {run.name}")
            scores.append(_score(run, output))
        summary = SweepSummary(name, output, "folds" if folds else split, scores)
        write_json(output / "summary.json", summary.to_dict())
    return summary


def _runs(
    variants: Sequence[Variant], output: Path, seeds: int, folds: int | None, split: str
) -> Iterator[_Run]:
    """All runs: the first seed of every variant first, so that they can be compared early."""
    for seed in range(seeds):
        for variant in variants:
            config: TrainConfig = variant.step.config
            config = replace(config, seed=config.seed + seed)
            shards = variant.step.paths["shards"]
            if folds is None:
                yield _Run(variant, config, None, shards, split)
            for fold in range(1, (folds or 0) + 1):
                place = output / "folds" / f"{fingerprint(shards)}-{fold}-of-{folds}"
                fold_shards(shards, place, FoldConfig(fold=fold, folds=folds or 0))
                yield _Run(variant, config, fold, place, "test")


def _score(run: _Run, output: Path) -> Score:
    """Train and measure, unless that was done before."""
    file = make_folder(output / "results") / f"{run.name}.json"
    setting = {"train": run.config.fingerprint(), "shards": fingerprint(run.shards)}
    if file.is_file():
        known = read_json(file)
        if known.get("setting") != setting:
            raise OutputExistsError(
                f"{file} is of other patches, or of a recipe with other settings; give another "
                "folder with -o."
            )
        return _read_score(file, known)
    runs = output / "runs"
    stages.train(run.shards, run.config, name=run.name, runs=runs, resume=True)
    measured = EvaluateConfig(split=run.split, device=run.config.device)
    (found,) = stages.evaluate(runs / run.name, run.shards, measured).splits
    network, polynomial = found.scores[NETWORK], found.scores[POLYNOMIAL]
    score = Score(
        run.variant.label,
        run.config.seed,
        run.fold,
        *(network.psnr, network.ms_ssim),
        *(polynomial.psnr, polynomial.ms_ssim),
        scenes=_of_scenes(found),
    )
    write_json(file, {"setting": setting, "score": asdict(score)})
    return score


def _of_scenes(found: SplitScores) -> dict[str, list[float | None]]:
    """PSNR and MS-SSIM of the network on each scene."""
    if found.by_scene is None:
        return {}
    measured = {one.scene: one.scores[NETWORK] for one in found.by_scene.scenes}
    return {scene: [own["psnr"], own["ms_ssim"]] for scene, own in measured.items()}


def _read_score(file: Path, content: dict[str, Any]) -> Score:
    try:
        return Score(**content["score"])
    except (KeyError, TypeError):
        raise UsageError(
            f"{file} is damaged; delete it, and the network is measured again."
        ) from None
