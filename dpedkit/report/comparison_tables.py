"""The tables of a comparison of runs: scores, settings that differ, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpedkit.core.wording import counted
from dpedkit.intervals import FEW_SCENES, Difference, Interval
from dpedkit.report.compared import Comparison
from dpedkit.report.evaluations import takes_part
from dpedkit.report.exports import Table

FORMS = {"psnr": ".2f", "ms_ssim": ".4f", "ssim": ".4f", "colour_error": ".2f"}
NAMES = {
    "psnr": "PSNR, dB",
    "ms_ssim": "MS-SSIM",
    "ssim": "SSIM",
    "colour_error": "colour error",
}
PAIRED = (
    "The first less the second, with the 95% bootstrap interval over the scenes. Where the "
    "interval contains 0, the difference may be chance."
)
_SETTINGS_BESIDE = 4
_OVER_PATCHES = ("psnr", "ms_ssim", "ssim")
_OVER_SCENES = ("psnr", "ms_ssim", "colour_error")

Score = tuple[float, float | None]  # mean over patches, and its deviation over the seeds


def scores(comparison: Comparison) -> Table:
    """A row for each entry: the settings that differ if they are few, and its scores."""
    settings = comparison.differing if len(comparison.differing) <= _SETTINGS_BESIDE else []
    header = ["", "runs", *settings, *(NAMES[key] for key in _OVER_PATCHES)]
    header += [f"{NAMES[key]}, over scenes" for key in _OVER_SCENES]
    columns = ["entry", "runs", *settings]
    columns += [f"{key}{end}" for key in _OVER_PATCHES for end in ("", "_deviation")]
    columns += [f"{key}_over_scenes{end}" for key in _OVER_SCENES for end in ("", "_low", "_high")]
    rows, values, best = [], [], []
    for line in (*_entries(comparison, settings), *_baselines(comparison, settings)):
        rows.append([line.name, "" if line.runs is None else str(line.runs)])
        rows[-1] += ["" if told is None else told for told in line.settings]
        rows[-1] += line.cells()
        values.append([line.name, line.runs, *line.settings, *line.numbers()])
        best.append(line.means() if takes_part(line.name) else [None] * len(line.means()))
    return Table(header, rows, columns, values, _best(best, first=2 + len(settings)))


@dataclass(frozen=True)
class _Line:
    """A row of the scores: of an entry, or of a baseline, which has neither runs nor settings."""

    name: str
    runs: int | None
    settings: Sequence[str | None]
    over_patches: Sequence[Score | None]
    over_scenes: Sequence[Interval | None]

    def cells(self) -> list[str]:
        """The scores as they are shown."""
        told = [
            with_deviation(score, FORMS[key])
            for key, score in zip(_OVER_PATCHES, self.over_patches, strict=True)
        ]
        return told + [
            interval.text(FORMS[key]) if interval else "-"
            for key, interval in zip(_OVER_SCENES, self.over_scenes, strict=True)
        ]

    def numbers(self) -> list[float | None]:
        """The scores with deviations and intervals, a number for each column."""
        found: list[float | None] = []
        for score in self.over_patches:
            found += score or (None, None)
        for interval in self.over_scenes:
            found += _numbers(interval)
        return found

    def means(self) -> list[float | None]:
        """What the best value of each column is chosen from."""
        patches = [score[0] if score else None for score in self.over_patches]
        return patches + [interval.mean if interval else None for interval in self.over_scenes]


def _entries(comparison: Comparison, settings: Sequence[str]) -> list[_Line]:
    return [
        _Line(
            entry.name,
            len(entry.runs),
            [str(entry.runs[0].settings.get(name, "-")) for name in settings],
            [entry.score(comparison.patches, key) for key in _OVER_PATCHES],
            [comparison.over_scenes(entry, key) for key in _OVER_SCENES],
        )
        for entry in comparison.entries
    ]


def _baselines(comparison: Comparison, settings: Sequence[str]) -> list[_Line]:
    lines = []
    for name, found in comparison.baselines.items():
        known = [found["scores"].get(key) for key in _OVER_PATCHES]
        lines.append(
            _Line(
                name,
                None,
                [None] * len(settings),
                [None if value is None else (value, None) for value in known],
                [found["means"].get(key) for key in _OVER_SCENES],
            )
        )
    return lines


def _best(means: Sequence[Sequence[float | None]], first: int) -> set[tuple[int, int]]:
    """Cells of the best value in each column: the lowest error, or the highest score."""
    cells = set()
    for column, key in enumerate((*_OVER_PATCHES, *_OVER_SCENES)):
        known = {row: own for row, one in enumerate(means) if (own := one[column]) is not None}
        if len(known) > 1:
            winner = min(known.values()) if key == "colour_error" else max(known.values())
            cells |= {(row, first + column) for row, own in known.items() if own == winner}
    return cells


def settings_that_differ(comparison: Comparison) -> Table:
    """A row for each setting that differs, where they are too many to stand beside the scores."""
    names = comparison.differing if len(comparison.differing) > _SETTINGS_BESIDE else []
    header = ["setting", *(entry.name for entry in comparison.entries)]
    settings = [entry.runs[0].settings for entry in comparison.entries]
    rows = [[name, *(str(own.get(name, "-")) for own in settings)] for name in names]
    return Table(header, rows, header, rows)


def differences(found: Sequence[Difference], measures: Sequence[str]) -> Table:
    """A row for each difference, with a column for each measure."""
    header = ["paired by scene", "scenes", *(NAMES[key] for key in measures)]
    columns = ["entry", "less", "scenes"]
    columns += [f"{key}{end}" for key in measures for end in ("", "_low", "_high")]
    rows, values = [], []
    for one in found:
        cells = [
            one.values[key].text(f"+{FORMS[key]}") if key in one.values else "-" for key in measures
        ]
        rows.append([f"{one.name} - {one.other}", str(one.scenes), *cells])
        numbers = [number for key in measures for number in _numbers(one.values.get(key))]
        values.append([one.name, one.other, one.scenes, *numbers])
    return Table(header, rows, columns, values)


def too_few_scenes(found: Sequence[Difference]) -> str:
    """That the scenes are too few to conclude anything from; empty where they are not."""
    fewest = min((one.scenes for one in found), default=FEW_SCENES)
    if fewest >= FEW_SCENES:
        return ""
    return (
        f"That is {counted(fewest, 'scene')}, too few to tell how the networks compare on others."
    )


def with_deviation(score: Score | None, form: str) -> str:
    """A mean and its deviation over the seeds, if there are several: "28.41 ± 0.05"."""
    if score is None:
        return "-"
    value, deviation = score
    spread = "" if deviation is None else f" ± {format(deviation, form.removeprefix('+'))}"
    return f"{format(value, form)}{spread}"


def _numbers(interval: Interval | None) -> tuple[float | None, ...]:
    return (interval.mean, interval.low, interval.high) if interval else (None, None, None)
