"""What the runs of a sweep scored, and the tables that compare them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dpedkit.core import console
from dpedkit.intervals import Interval, paired_difference

_NOTE = (
    "PSNR in dB and MS-SSIM of each patch by itself, then the mean{over_folds}; gain: over the "
    "colour polynomial\nof the same train split. +-: standard deviation over the seeds. {measured}"
)

_PAIRED = (
    "In brackets: the 95% bootstrap interval over the scenes. Where it contains 0, the difference "
    "may be chance."
)


@dataclass(frozen=True)
class Score:
    """How the network of a run did on the patches that it is measured on.

    Attributes
    ----------
    variant : str
    seed : int
    fold : int or None
        From 1; None without cross-validation.
    psnr, polynomial_psnr : float or None
        dB, of the network and of the colour polynomial; None where it is infinite.
    ms_ssim, polynomial_ms_ssim : float
    scenes : dict
        By scene: PSNR (None where it is infinite) and MS-SSIM of the network. Empty if it is not
        known which patches show the same scene, or if an earlier version measured.
    """

    variant: str
    seed: int
    fold: int | None
    psnr: float | None
    ms_ssim: float
    polynomial_psnr: float | None
    polynomial_ms_ssim: float
    scenes: dict[str, list[float | None]] = field(default_factory=dict)

    @property
    def gain(self) -> float:
        """PSNR over the polynomial, dB."""
        return _finite_or_inf(self.psnr) - _finite_or_inf(self.polynomial_psnr)


@dataclass(frozen=True)
class Row:
    """A variant's scores: means over the seeds, and the deviation over them.

    A seed's score is the mean over the folds, where there are some.
    """

    variant: str
    runs: int
    psnr: float
    psnr_deviation: float | None
    ms_ssim: float
    ms_ssim_deviation: float | None
    gain: float
    gain_deviation: float | None

    @classmethod
    def of(cls, variant: str, scores: list[Score]) -> Row:
        seeds = sorted({score.seed for score in scores})
        of_seed = [[score for score in scores if score.seed == seed] for seed in seeds]
        psnr = [mean(_finite_or_inf(score.psnr) for score in own) for own in of_seed]
        ms_ssim = [mean(score.ms_ssim for score in own) for own in of_seed]
        gain = [mean(score.gain for score in own) for own in of_seed]
        return cls(
            variant,
            len(scores),
            *(mean(psnr), _deviation(psnr)),
            *(mean(ms_ssim), _deviation(ms_ssim)),
            *(mean(gain), _deviation(gain)),
        )

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        numbers = (
            (self.psnr, self.psnr_deviation, ".2f"),
            (self.ms_ssim, self.ms_ssim_deviation, ".4f"),
            (self.gain, self.gain_deviation, "+.2f"),
        )
        cells = [self.variant, str(self.runs)]
        for value, deviation, form in numbers:
            spread = "" if deviation is None else format(deviation, form.removeprefix("+"))
            cells += [format(value, form), spread]
        return tuple(cells)


@dataclass(frozen=True)
class Difference:
    """A variant less the first one: the mean over the scenes, paired, with its interval.

    A scene's score is the mean over the seeds.
    """

    variant: str
    psnr: Interval | None
    ms_ssim: Interval | None

    def cells(self, first: str) -> tuple[str, ...]:
        """The row of a table."""
        known = self.psnr or self.ms_ssim
        return (
            f"{self.variant} - {first}",
            str(known.scenes if known else 0),
            self.psnr.text("+.2f") if self.psnr else "-",
            self.ms_ssim.text("+.4f") if self.ms_ssim else "-",
        )


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
    """

    recipe: str
    output: Path
    split: str
    scores: list[Score]

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(score.variant for score in self.scores))

    def rows(self, fold: int | None = None) -> list[Row]:
        """A row for each variant: of all its runs, or of those of one fold."""
        return [
            Row.of(
                variant,
                [
                    score
                    for score in self.scores
                    if score.variant == variant and fold in (None, score.fold)
                ],
            )
            for variant in self.variants
        ]

    def differences(self) -> list[Difference]:
        """Every other variant less the first, where both were measured by scene."""
        first, *others = self.variants
        found = []
        for variant in others:
            psnr, ms_ssim = (
                paired_difference(self._of_scenes(variant, place), self._of_scenes(first, place))
                for place in range(2)
            )
            if psnr or ms_ssim:
                found.append(Difference(variant, psnr, ms_ssim))
        return found

    def _of_scenes(self, variant: str, place: int) -> dict[str, float]:
        """By scene, the mean over the seeds of a variant's PSNR (0) or MS-SSIM (1)."""
        values: dict[str, list[float]] = {}
        for score in self.scores:
            if score.variant == variant:
                for scene, own in score.scenes.items():
                    if (value := own[place]) is not None:
                        values.setdefault(scene, []).append(value)
        return {scene: mean(own) for scene, own in values.items()}

    @property
    def folds(self) -> list[int]:
        return sorted({score.fold for score in self.scores if score.fold is not None})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "recipe": self.recipe,
            "output": str(self.output),
            "split": self.split,
            "variants": [_json_ready(row) for row in self.rows()],
            "folds": {
                str(fold): [_json_ready(row) for row in self.rows(fold)] for fold in self.folds
            },
            "differences": [asdict(difference) for difference in self.differences()],
            "runs": [asdict(score) for score in self.scores],
        }

    def as_text(self) -> str:
        measured = {
            "val": "Measured on the val split, by which each network was chosen.",
            "test": "Measured on the test split: settings chosen by this table have seen it.",
            "folds": "No patch of a\nfold was used for training or for choosing a network.",
        }[self.split]
        note = _NOTE.format(
            over_folds=" of a fold, then over the folds" if self.folds else "", measured=measured
        )
        header = ("setting", "runs", "PSNR", "+-", "MS-SSIM", "+-", "gain", "+-")
        blocks = [console.table(header, [row.cells() for row in self.rows()], note)]
        if differences := self.differences():
            first = self.variants[0]
            paired = [difference.cells(first) for difference in differences]
            columns = ("paired by scene", "scenes", "PSNR", "MS-SSIM")
            blocks.append(console.table(columns, paired, _PAIRED))
        if self.folds:
            rows = [
                (str(fold), *(f"{row.psnr:.2f} {row.ms_ssim:.4f}" for row in self.rows(fold)))
                for fold in self.folds
            ]
            blocks.append(console.table(("fold", *self.variants), rows))
        return "\n\n".join([*blocks, f"runs and summary.json: {self.output}"])


def _deviation(values: list[float]) -> float | None:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    return stdev(values)


def _finite_or_inf(psnr: float | None) -> float:
    return math.inf if psnr is None else psnr


def _json_ready(row: Row) -> dict[str, Any]:
    return {
        name: value if not isinstance(value, float) or math.isfinite(value) else None
        for name, value in asdict(row).items()
    }
