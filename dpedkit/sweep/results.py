"""The result of a sweep: means over folds and seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dpedkit.core.methods import NETWORK, PHONE, POLYNOMIAL, START
from dpedkit.core.wording import counted, listed
from dpedkit.intervals import Difference, means_by_scene
from dpedkit.report.page import page_file
from dpedkit.sweep.scores import MEASURES, Score
from dpedkit.sweep.tables import tables_as_text

_BASELINES = (PHONE, POLYNOMIAL, START)  # the last that there is, is the reference
_MINUTE = 60  # seconds


@dataclass(frozen=True)
class Mean:
    """A mean over seeds or folds, and the standard deviation over them; None of a single one."""

    value: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Of at least one value; a PSNR may be infinite."""
        spread = len(values) > 1 and all(map(math.isfinite, values))
        return cls(mean(values), stdev(values) if spread else None)


@dataclass(frozen=True)
class Row:
    """The network of a variant, or a baseline.

    Attributes
    ----------
    name : str
    method : str
        One of those in the scores.
    scores : list of Score
        Of all runs of a variant.
    """

    name: str
    method: str
    scores: list[Score]

    def mean(self, measure: str, fold: int | None = None) -> Mean:
        """Over the seeds; the score of a seed is the mean over all folds, or that of one."""
        seeds: dict[int, list[float]] = {}
        for score in self.scores:
            if fold in (None, score.fold):
                value = getattr(score.methods[self.method], measure)
                seeds.setdefault(score.seed, []).append(math.inf if value is None else value)
        found = Mean.of([mean(own) for own in seeds.values()])
        # A baseline does not depend on the seed.
        return found if self.method == NETWORK else Mean(found.value, None)

    def scenes(self) -> dict[str, dict[str, float]]:
        """By measure, then by scene: the mean over the seeds."""
        by_run = [score.methods[self.method].scenes for score in self.scores]
        return {
            measure: means_by_scene(
                {scene: own[measure] for scene, own in scenes.items()} for scenes in by_run
            )
            for measure in MEASURES
        }

    @property
    def cpu_minutes(self) -> float | None:
        """Processor time of the training of a network, mean over the runs where it is known."""
        known = [score.cpu_seconds for score in self.scores if score.cpu_seconds is not None]
        return mean(known) / _MINUTE if known and self.method == NETWORK else None

    def has(self, method: str) -> bool:
        """Whether all its runs have a score of a method."""
        return all(method in score.methods for score in self.scores)

    def reference(self) -> Row:
        """What its network should beat: what training started from, or the polynomial."""
        method = [method for method in _BASELINES if self.has(method)][-1]
        return Row(method, method, self.scores)

    def to_dict(self, fold: int | None = None) -> dict[str, Any]:
        """JSON-ready values, of all folds or of one; an infinite PSNR is None."""
        found: dict[str, Any] = {"name": self.name, "method": self.method}
        for measure in MEASURES:
            own = self.mean(measure, fold)
            found |= {measure: _finite(own.value), f"{measure}_deviation": own.deviation}
        if self.method == NETWORK and fold is None:
            found |= {"runs": len(self.scores), "cpu_minutes": self.cpu_minutes}
        return found


@dataclass(frozen=True)
class FoldDifference:
    """What one row scores less another, paired by fold: all there is where scenes are not known.

    Attributes
    ----------
    name, other : str
    folds : list of int
        Empty without cross-validation.
    values : dict of str to Mean
        By measure: over the folds, with the standard deviation over them. The value of a fold is
        the mean over the seeds. An infinite PSNR is left out.
    """

    name: str
    other: str
    folds: list[int]
    values: dict[str, Mean]

    @classmethod
    def between(cls, ours: Row, theirs: Row) -> FoldDifference:
        """Of two rows with the same folds."""
        folds = sorted({score.fold for score in ours.scores if score.fold is not None})
        each: list[int | None] = [*folds] or [None]
        values = {}
        for measure in MEASURES:
            gains = [
                ours.mean(measure, fold).value - theirs.mean(measure, fold).value for fold in each
            ]
            if all(map(math.isfinite, gains)):
                values[measure] = Mean.of(gains)
        return cls(ours.name, theirs.name, folds, values)


@dataclass(frozen=True)
class SweepSummary:
    """The result of a sweep.

    Attributes
    ----------
    recipe : str
    output : Path
    split : str
        What the networks were measured on: "val", "test", or "folds".
    scores : list of Score
        Of every run, variant by variant.
    alike : str
        What `--set` changed in all runs, in words.
    folds_in_all : int or None
        The number of folds, of which perhaps only some were done.
    """

    recipe: str
    output: Path
    split: str
    scores: list[Score]
    alike: str = ""
    folds_in_all: int | None = None

    @cached_property
    def networks(self) -> list[Row]:
        """A row for each variant."""
        variants = dict.fromkeys(score.variant for score in self.scores)
        return [
            Row(name, NETWORK, [score for score in self.scores if score.variant == name])
            for name in variants
        ]

    @cached_property
    def baselines(self) -> list[Row]:
        """A row for each baseline, or several where it is not the same for all variants."""
        rows = []
        for method in _BASELINES:
            same: dict[frozenset[tuple[int | None, str, str | None]], list[Row]] = {}
            for row in self.networks:
                if row.has(method):
                    made_of = frozenset(
                        (score.fold, score.shards, score.init if method == START else None)
                        for score in row.scores
                    )
                    same.setdefault(made_of, []).append(row)
            for own in same.values():
                of = "" if len(same) == 1 else f" ({'; '.join(row.name for row in own)})"
                rows.append(Row(f"{method}{of}", method, own[0].scores))
        return rows

    @cached_property
    def pairs(self) -> list[tuple[Row, Row]]:
        """What is compared: each network and its reference, each other network and the first."""
        first, *others = self.networks
        over_reference = [(row, row.reference()) for row in self.networks]
        return over_reference + [(row, first) for row in others]

    @cached_property
    def differences(self) -> list[Difference]:
        """Paired by scene; empty where it is not known which patches show the same scene."""
        found = (
            Difference.between(ours.name, ours.scenes(), theirs.name, theirs.scenes())
            for ours, theirs in self.pairs
        )
        return [difference for difference in found if difference is not None]

    @cached_property
    def fold_differences(self) -> list[FoldDifference]:
        """Paired by fold."""
        return [FoldDifference.between(ours, theirs) for ours, theirs in self.pairs]

    @property
    def folds(self) -> list[int]:
        """The folds that were done, from 1; empty without cross-validation."""
        return sorted({score.fold for score in self.scores if score.fold is not None})

    @property
    def seeds(self) -> int:
        """How many seeds each variant was trained with."""
        return len({score.seed for score in self.scores})

    @property
    def timed(self) -> bool:
        """Whether the processor time of any training is known."""
        return any(row.cpu_minutes is not None for row in self.networks)

    def described(self) -> str:
        """What was done, in words."""
        parts = [counted(len(self.networks), "combination"), counted(self.seeds, "seed")]
        if self.folds:
            numbers = listed([str(fold) for fold in self.folds])
            some = f"fold {numbers}" if len(self.folds) == 1 else f"folds {numbers}"
            whole = len(self.folds) == self.folds_in_all
            parts.append(
                f"{self.folds_in_all} folds" if whole else f"{some} of {self.folds_in_all}"
            )
        words = f"{self.recipe}: {counted(len(self.scores), 'run')} ({', '.join(parts)})"
        return f"{words}, with {self.alike}." if self.alike else f"{words}."

    def notes(self) -> list[str]:
        """What the scores mean and what they do not, in sentences."""
        of_folds = " of a fold, then over the folds" if self.folds else ""
        measured = {
            "val": "Measured on the val split, by which each network was chosen.",
            "test": "Measured on the test split: settings chosen by this table have seen it.",
            "folds": "No patch of a fold was used for training or for choosing the network that is "
            "measured on it.",
        }
        notes = [f"PSNR in dB and MS-SSIM of each patch by itself, then the mean{of_folds}."]
        if self.seeds > 1:
            notes.append("±: standard deviation over the seeds.")
        if self.timed:
            notes.append("CPU minutes: processor time of one training.")
        notes.append(measured[self.split])
        if self.folds and not self.differences:
            notes.append(
                "It is not known which of these patches show the same scene: pair k is in fold k "
                f"modulo {self.folds_in_all}, so patches of one scene may be in several folds."
            )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        rows = [*self.baselines, *self.networks]
        return {
            "recipe": self.recipe,
            "output": str(self.output),
            "split": self.split,
            "alike": self.alike,
            "folds_in_all": self.folds_in_all,
            "variants": [row.to_dict() for row in self.networks],
            "baselines": [row.to_dict() for row in self.baselines],
            "folds": {str(fold): [row.to_dict(fold) for row in rows] for fold in self.folds},
            "differences": [asdict(difference) for difference in self.differences],
            "differences_by_fold": [asdict(difference) for difference in self.fold_differences],
            "runs": [score.to_dict() for score in self.scores],
        }

    def as_text(self) -> str:
        """The tables, and where everything is."""
        where = f"runs and summary.json: {self.output}\nreport: {page_file(self.output)}"
        return "\n\n".join([self.described(), tables_as_text(self), where])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
