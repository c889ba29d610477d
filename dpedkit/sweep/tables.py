"""The tables of a sweep: means, differences, and folds."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpedkit.core import console
from dpedkit.core.methods import NETWORK
from dpedkit.report.comparison_tables import (
    FORMS,
    NAMES,
    PAIRED,
    differences,
    too_few_scenes,
    with_deviation,
)
from dpedkit.report.exports import Table
from dpedkit.sweep.scores import MEASURES

if TYPE_CHECKING:
    from dpedkit.sweep.results import FoldDifference, Mean, Row, SweepSummary

_WIDTH = 100  # of notes in the terminal
_BY_FOLD = (
    "The first less the second: the mean over the folds, and the standard deviation over them."
)


def scores(summary: SweepSummary) -> Table:
    """A row for each baseline, then one for each variant."""
    header = ["", "runs", *(NAMES[key] for key in MEASURES)]
    columns = [
        "setting",
        "runs",
        *(f"{key}{end}" for key in MEASURES for end in ("", "_deviation")),
    ]
    if summary.timed:
        header.append("CPU minutes")
        columns.append("cpu_minutes")
    rows, values = [], []
    for row in (*summary.baselines, *summary.networks):
        means = [row.mean(key) for key in MEASURES]
        runs = len(row.scores) if row.method == NETWORK else None
        cells = [_cell(mean, FORMS[key]) for key, mean in zip(MEASURES, means, strict=True)]
        rows.append([row.name, "" if runs is None else str(runs), *cells])
        values.append([row.name, runs, *(number for mean in means for number in _numbers(mean))])
        if summary.timed:
            rows[-1].append("" if row.cpu_minutes is None else f"{row.cpu_minutes:.1f}")
            values[-1].append(row.cpu_minutes)
    return Table(header, rows, columns, values)


def paired(summary: SweepSummary) -> tuple[Table, str]:
    """The differences, and what they are: by scene where scenes are known, else by fold."""
    if summary.differences:
        note = f"{PAIRED} {too_few_scenes(summary.differences)}".rstrip()
        return differences(summary.differences, MEASURES), note
    found = summary.fold_differences
    if not summary.folds:
        return _by_fold(found, "difference"), ""
    return _by_fold(found, "paired by fold"), _BY_FOLD if len(summary.folds) > 1 else ""


def _by_fold(found: Sequence[FoldDifference], title: str) -> Table:
    header = [title, *(NAMES[key] for key in MEASURES)]
    columns = ["entry", "less", *(f"{key}{end}" for key in MEASURES for end in ("", "_deviation"))]
    rows, values = [], []
    for one in found:
        means = [one.values.get(key) for key in MEASURES]
        cells = [_cell(mean, f"+{FORMS[key]}") for key, mean in zip(MEASURES, means, strict=True)]
        rows.append([f"{one.name} - {one.other}", *cells])
        numbers = [number for mean in means for number in _numbers(mean)]
        values.append([one.name, one.other, *numbers])
    return Table(header, rows, columns, values)


def folds(summary: SweepSummary) -> Table:
    """A row for each fold: the scores of all baselines and variants on it.

    If there is one variant, its gain over its reference is beside them.
    """
    shown = [*summary.baselines, *summary.networks]
    names, signs = [row.name for row in shown], [""] * len(shown)
    if gain := len(summary.networks) == 1:
        names, signs = [*names, "gain"], [*signs, "+"]
    rows, values = [], []
    for fold in summary.folds:
        means = [_means(row, fold) for row in shown]
        if gain:
            (network,) = summary.networks
            means.append(_less(means[-1], _means(network.reference(), fold)))
        patches = next(score.patches for score in summary.scores if score.fold == fold)
        cells = [_both(own, sign) for own, sign in zip(means, signs, strict=True)]
        rows.append([str(fold), f"{patches:,}", *cells])
        values.append([fold, patches, *(own[key] for own in means for key in MEASURES)])
    columns = [f"{name}: {key}" for name in names for key in MEASURES]
    header = ["fold", "patches"]
    return Table([*header, *names], rows, [*header, *columns], values)


def _means(row: Row, fold: int) -> dict[str, float]:
    return {key: row.mean(key, fold).value for key in MEASURES}


def _less(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    return {key: ours[key] - theirs[key] for key in MEASURES}


def _both(means: dict[str, float], sign: str) -> str:
    return " ".join(format(means[key], sign + FORMS[key]) for key in MEASURES)


def tables_as_text(summary: SweepSummary) -> str:
    """All tables with their notes, for a terminal."""
    compared, note = paired(summary)
    blocks = [(scores(summary), " ".join(summary.notes())), (compared, note)]
    if summary.folds:
        blocks.append((folds(summary), ""))
    return "\n\n".join(
        console.table(table.header, table.rows, textwrap.fill(note, _WIDTH))
        for table, note in blocks
        if table.rows
    )


def _cell(mean: Mean | None, form: str) -> str:
    return with_deviation(None if mean is None else (mean.value, mean.deviation), form)


def _numbers(mean: Mean | None) -> tuple[float | None, float | None]:
    return (None, None) if mean is None else (mean.value, mean.deviation)
