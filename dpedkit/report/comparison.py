"""The page that compares several runs, and its tables and figures as files for papers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import console
from dpedkit.core.atomic import make_folder
from dpedkit.core.wording import counted
from dpedkit.intervals import FEW_SCENES, Interval
from dpedkit.report import figures, zoom
from dpedkit.report.charts import curves
from dpedkit.report.compared import MEASURES, Comparison, Run
from dpedkit.report.evaluations import takes_part
from dpedkit.report.exports import Table
from dpedkit.report.page import escape, page_file, table, write_page
from dpedkit.report.samples import patches_of, sample_files
from dpedkit.report.zoom import Shown, zoomable

_FORMS = {"psnr": ".2f", "ms_ssim": ".4f", "ssim": ".4f", "colour_error": ".2f"}
_NAMES = {
    "psnr": "PSNR, dB",
    "ms_ssim": "MS-SSIM",
    "ssim": "SSIM",
    "colour_error": "colour error",
}
_SETTINGS_BESIDE = 4
_OVER_PATCHES = ("psnr", "ms_ssim", "ssim")
_OVER_SCENES = ("psnr", "ms_ssim", "colour_error")
_NOTE = (
    "Over patches: the mean, and the standard deviation over the seeds where there are several. "
    "Over scenes: the mean with the 95% bootstrap interval over the scenes, of scores averaged "
    "over the seeds. Colour error in 8-bit levels. The best value of each column is bold; the "
    "oracle polynomial, fitted to each photo that it is measured on, does not take part."
)


@dataclass(frozen=True)
class CompareSummary:
    """What was compared and written."""

    path: Path
    comparison: Comparison
    files: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; the numbers are those of the CSV files."""
        tables = {
            "scores": _scores(self.comparison),
            "settings": _settings(self.comparison),
            "differences": _differences(self.comparison),
        }
        return {
            "report": str(self.path),
            "files": [str(file) for file in self.files],
            "patches": self.comparison.patches and list(self.comparison.patches),
            **{
                name: [dict(zip(one.columns, row, strict=True)) for row in one.values]
                for name, one in tables.items()
            },
        }

    def as_text(self) -> str:
        """The tables and where everything is."""
        parts = [self.comparison.described()]
        for build in (_scores, _settings, _differences):
            one = build(self.comparison)
            if one.rows:
                parts.append(console.table(one.header, one.rows))
        parts.append(f"report: {self.path}\ntables and figures: {self.path.parent}")
        return "\n\n".join(parts)


def compare_runs(folders: Sequence[Path], output: Path) -> CompareSummary:
    """Compare runs on one page, `output`/report/index.html, and write its tables and figures.

    Without matplotlib there are no figures as files, and a message says how to install it.

    Parameters
    ----------
    folders : sequence of Path
        Of the runs.
    output : Path

    Raises
    ------
    DpedkitError
        If there are fewer than two runs, or one of the folders is not a run's.
    """
    comparison = Comparison.of(folders)
    scores, differences = _scores(comparison), _differences(comparison)
    settings = _settings(comparison)
    place = make_folder(page_file(output).parent)
    files = scores.write(place, "scores")
    for name, one in (("settings", settings), ("differences", differences)):
        if one.rows:
            files += one.write(place, name)
    if figures.can_draw():
        files += figures.write_figures(place, comparison)
    else:
        console.warn(
            "The figures are only on the page, not in files of their own, because matplotlib is "
            f"not installed: {figures.INSTALL}"
        )
    title = f"Comparison of {counted(sum(len(e.runs) for e in comparison.entries), 'run')}"
    links = " ".join(f'<a href="{escape(f.name)}">{escape(f.name)}</a>' for f in files)
    body = (
        f"<h1>{escape(title)}</h1><p>{escape(comparison.described())}</p>"
        f"{table(scores.header, scores.rows, bold=scores.bold)}"
        f'<p class="soft">{escape(_NOTE)}</p>'
        f"{_setting_section(settings)}"
        f"{_difference_section(comparison, differences)}"
        f'<h2>Training</h2><div class="charts">{_charts(comparison)}</div>'
        f"{_same_patches(comparison)}"
        f"<h2>Runs</h2>{_run_links(comparison, place)}"
        f'<h2>Files</h2><nav class="links">{links}</nav>'
    )
    path = write_page(output, title, body, styles=[zoom.STYLE], scripts=[zoom.SCRIPT])
    return CompareSummary(path, comparison, files)


def _scores(comparison: Comparison) -> Table:
    """A row for each entry: the settings that differ if they are few, and its scores."""
    settings = comparison.differing if len(comparison.differing) <= _SETTINGS_BESIDE else []
    header = ["", "runs", *settings, *(_NAMES[key] for key in _OVER_PATCHES)]
    header += [f"{_NAMES[key]}, over scenes" for key in _OVER_SCENES]
    columns = ["entry", "runs", *settings]
    columns += [f"{key}{end}" for key in _OVER_PATCHES for end in ("", "_deviation")]
    columns += [f"{key}_over_scenes{end}" for key in _OVER_SCENES for end in ("", "_low", "_high")]
    rows, values, best = [], [], []
    for entry in comparison.entries:
        own = entry.runs[0].settings
        scores = [entry.score(comparison.patches, key) for key in _OVER_PATCHES]
        scenes = [comparison.over_scenes(entry, key) for key in _OVER_SCENES]
        told = [str(own.get(name, "-")) for name in settings]
        cells = [_with_deviation(x, _FORMS[k]) for k, x in zip(_OVER_PATCHES, scores, strict=True)]
        cells += [
            x.text(_FORMS[k]) if x else "-" for k, x in zip(_OVER_SCENES, scenes, strict=True)
        ]
        rows.append([entry.name, str(len(entry.runs)), *told, *cells])
        numbers: list[object] = []
        for score in scores:
            numbers += score or (None, None)
        for interval in scenes:
            numbers += _numbers(interval)
        values.append([entry.name, len(entry.runs), *told, *numbers])
        means = [score and score[0] for score in scores]
        best.append([*means, *(x.mean if x else None for x in scenes)])
    for name, found in comparison.baselines.items():
        known = [found["scores"].get(key) for key in _OVER_PATCHES]
        over = [found["means"].get(key) for key in _OVER_SCENES]
        cells = [
            _with_deviation(None if x is None else (x, None), _FORMS[key])
            for key, x in zip(_OVER_PATCHES, known, strict=True)
        ]
        cells += [
            x.text(_FORMS[key]) if x else "-" for key, x in zip(_OVER_SCENES, over, strict=True)
        ]
        rows.append([name, "", *[""] * len(settings), *cells])
        numbers = [number for x in known for number in (x, None)]
        numbers += [number for x in over for number in _numbers(x)]
        values.append([name, None, *[None] * len(settings), *numbers])
        if takes_part(name):
            best.append([*known, *(x.mean if x else None for x in over)])
        else:
            best.append([None] * len(best[0]))
    return Table(header, rows, columns, values, _best(best, first=2 + len(settings)))


def _settings(comparison: Comparison) -> Table:
    """A row for each setting that differs, where they are too many to stand beside the scores."""
    names = comparison.differing if len(comparison.differing) > _SETTINGS_BESIDE else []
    header = ["setting", *(entry.name for entry in comparison.entries)]
    settings = [entry.runs[0].settings for entry in comparison.entries]
    rows = [[name, *(str(own.get(name, "-")) for own in settings)] for name in names]
    return Table(header, rows, header, rows)


def _best(means: Sequence[Sequence[float | None]], first: int) -> set[tuple[int, int]]:
    """Cells of the best value in each column, the last of which is an error."""
    cells = set()
    for column in range(len(means[0])):
        known = {row: own for row, one in enumerate(means) if (own := one[column]) is not None}
        if len(known) > 1:
            is_error = (*_OVER_PATCHES, *_OVER_SCENES)[column] == "colour_error"
            winner = min(known.values()) if is_error else max(known.values())
            cells |= {(row, first + column) for row, own in known.items() if own == winner}
    return cells


def _differences(comparison: Comparison) -> Table:
    """A row for each difference between two entries."""
    header = ["paired by scene", "scenes", *(_NAMES[key] for key in MEASURES)]
    columns = ["entry", "less", "scenes"]
    columns += [f"{key}{end}" for key in MEASURES for end in ("", "_low", "_high")]
    rows, values = [], []
    for one in comparison.differences:
        scenes = max(found.scenes for found in one.values.values())
        cells = [
            one.values[key].text(f"+{_FORMS[key]}") if key in one.values else "-"
            for key in MEASURES
        ]
        rows.append([f"{one.name} - {one.other}", str(scenes), *cells])
        numbers = [number for key in MEASURES for number in _numbers(one.values.get(key))]
        values.append([one.name, one.other, scenes, *numbers])
    return Table(header, rows, columns, values)


def _setting_section(settings: Table) -> str:
    if not settings.rows:
        return ""
    return f"<h2>Settings that differ</h2>{table(settings.header, settings.rows)}"


def _difference_section(comparison: Comparison, differences: Table) -> str:
    if not differences.rows:
        words = (
            "There are none: the runs have no evaluation on the same patches that tells their "
            "scenes. Measure each with `dpedkit evaluate RUN SHARDS`."
        )
        return f'<h2>Differences</h2><p class="soft">{escape(words)}</p>'
    fewest = min(one.scenes for d in comparison.differences for one in d.values.values())
    caution = ""
    if fewest < FEW_SCENES:
        caution = (
            f'<p class="warn">That is {counted(fewest, "scene")}, too few to tell how the networks '
            "compare on others.</p>"
        )
    words = (
        "The first less the second, with the 95% bootstrap interval over the scenes. Where the "
        "interval contains 0, the difference may be chance."
    )
    return (
        f"<h2>Differences</h2>{table(differences.header, differences.rows)}{caution}"
        f'<p class="soft">{escape(words)}</p>'
    )


def _charts(comparison: Comparison) -> str:
    parts = []
    for key, label in (("psnr", "PSNR, dB"), ("ms_ssim", "MS-SSIM")):
        series = {
            entry.name: [(step, value) for step, value, _ in entry.curve(key)]
            for entry in comparison.entries
        }
        title = f"{label.partition(',')[0]} on validation patches"
        parts.append(curves(series, title, "step", label))
    return "".join(parts)


def _same_patches(comparison: Comparison) -> str:
    """The patches of the validations, as each run's best network enhances them."""
    runs = [run for entry in comparison.entries for run in entry.runs]
    kept: list[tuple[str, list[NDArray[np.uint8]]]] = []
    left_out = []
    for run in runs:
        patches = _sample(run)
        if not patches or (kept and not _are_of_the_same(patches, kept[0][1])):
            left_out.append(run.name)
            continue
        kept.append((run.name, patches))
    if len(kept) < 2:
        return ""
    rows = []
    for number, (phone, _, dslr) in enumerate(kept[0][1]):
        enhanced = [Shown(name, patches[number][1]) for name, patches in kept]
        words = f"patch {number + 1} of {len(kept[0][1])}"
        rows.append((words, [Shown("phone", phone), *enhanced, Shown("DSLR", dslr)]))
    note = "Patches of the validation, by the best network of each run. Click to see one large."
    if left_out:
        note += f" Runs without samples of the same patches are left out: {', '.join(left_out)}."
    return (
        f'<h2>The same patches by all runs</h2><p class="soft">{escape(note)}</p>{zoomable(rows)}'
    )


def _sample(run: Run) -> list[NDArray[np.uint8]]:
    """The sample picture of the best network, or if there is none, the last one."""
    files = sample_files(run.path / "samples")
    if not files:
        return []
    step = run.best_step
    own = [file for file in files if step is not None and file.stem == f"step-{step:06d}"]
    return patches_of([*files, *own][-1])


def _are_of_the_same(a: list[NDArray[np.uint8]], b: list[NDArray[np.uint8]]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(one[side], other[side])
        for one, other in zip(a, b, strict=True)
        for side in (0, 2)
    )


def _run_links(comparison: Comparison, place: Path) -> str:
    """Links to the pages of the runs, where they exist."""
    lines = []
    for run in (run for entry in comparison.entries for run in entry.runs):
        page = page_file(run.path)
        name = escape(run.path)
        if page.is_file():
            address = Path(os.path.relpath(page.absolute(), place.absolute())).as_posix()
            name = f'<a href="{escape(address)}">{name}</a>'
        lines.append(f"<li>{name}</li>")
    return f"<ul>{''.join(lines)}</ul>"


def _with_deviation(score: tuple[float, float | None] | None, form: str) -> str:
    if score is None:
        return "-"
    value, deviation = score
    spread = "" if deviation is None else f" ± {format(deviation, form)}"
    return f"{format(value, form)}{spread}"


def _numbers(interval: Interval | None) -> tuple[float | None, ...]:
    return (interval.mean, interval.low, interval.high) if interval else (None, None, None)
