"""Run a sweep: one training after the other, each left alone once it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dpedkit.core import console
from dpedkit.core.atomic import write_json
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.lock import locked
from dpedkit.shards import split_counts
from dpedkit.shards.config import FoldConfig
from dpedkit.shards.conversion import fold_shards
from dpedkit.shards.index import fingerprint
from dpedkit.sweep.grid import Variant, read_grid
from dpedkit.sweep.page import write_sweep_page
from dpedkit.sweep.results import SweepSummary
from dpedkit.sweep.scoring import Run, Scorer

_Fold = tuple[int | None, Path, str]  # its number, its shards, and the split to measure on


def run_sweep(
    recipe: str,
    folder: Path | None = None,
    output: Path | None = None,
    *,
    changes: Sequence[str] = (),
    seeds: int = 1,
    folds: int | None = None,
    only: Sequence[int] = (),
    split: str = "val",
) -> SweepSummary:
    """Train a recipe with every combination of some settings, and compare the networks.

    What is done is found again in `output`, so the same call continues a sweep that was stopped,
    and one with more values or seeds, or other folds of the same number, only does what is new.

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
    only : sequence of int
        The folds to do, from 1; all of them if empty.
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
    _refuse_missing_folds(folds, only)
    grid = read_grid(recipe, folder, changes)
    name = Path(recipe).stem
    sources = list(dict.fromkeys(variant.step.paths["shards"] for variant in grid.variants))
    for shards in sources:
        if folds is None and not split_counts(shards)[split]:
            raise DpedkitError(
                f"{shards} has no patches in the {split} split to measure; use --cross-validate, "
                "which needs none."
            )
    output = output or grid.variants[0].step.output.parent.parent / "sweeps" / name
    with locked(output):
        data = {shards: _data(shards, output, folds, only, split) for shards in sources}
        runs = list(_runs(grid.variants, data, seeds))
        scorer = Scorer(output)
        scores = []
        for number, run in enumerate(runs, start=1):
            console.say(f"sweep: {number} of {len(runs)}: {run.name}")
            scores.append(scorer.score(run))
        measured = "folds" if folds else split
        summary = SweepSummary(name, output, measured, scores, grid.alike, folds)
        write_json(output / "summary.json", summary.to_dict())
        write_sweep_page(summary, [scorer.folder_of(run) for run in runs])
    return summary


def _refuse_missing_folds(folds: int | None, only: Sequence[int]) -> None:
    """Raise UsageError if a fold is asked for that there is not."""
    if only and folds is None:
        raise UsageError("--only chooses folds of --cross-validate; give that as well.")
    for fold in only:
        if not 1 <= fold <= (folds or 0):
            raise UsageError(f"--only {fold}: the folds are numbered from 1 to {folds}.")


def _data(
    shards: Path, output: Path, folds: int | None, only: Sequence[int], split: str
) -> list[_Fold]:
    """What to train and measure on: the shards as they are, or folds, made where they are new."""
    if folds is None:
        return [(None, shards, split)]
    found: list[_Fold] = []
    for fold in sorted(set(only)) or range(1, folds + 1):
        place = output / "folds" / f"{fingerprint(shards)}-{fold}-of-{folds}"
        fold_shards(shards, place, FoldConfig(fold=fold, folds=folds))
        found.append((fold, place, "test"))
    return found


def _runs(variants: Sequence[Variant], data: dict[Path, list[_Fold]], seeds: int) -> Iterator[Run]:
    """All runs: the first seed of every variant first, so that a second can be left out."""
    for seed in range(seeds):
        for variant in variants:
            config = replace(variant.step.config, seed=variant.step.config.seed + seed)
            for fold, shards, split in data[variant.step.paths["shards"]]:
                yield Run(variant, config, fold, shards, split)
