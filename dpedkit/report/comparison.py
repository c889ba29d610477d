"""The page that compares several runs, with its tables and figures as files for papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import console
from dpedkit.core.atomic import make_folder
from dpedkit.core.wording import counted
from dpedkit.report import figures, zoom
from dpedkit.report.charts import curves
from dpedkit.report.compared import MEASURES, Comparison, Run
from dpedkit.report.comparison_tables import (
    PAIRED,
    differences,
    scores,
    settings_that_differ,
    too_few_scenes,
)
from dpedkit.report.exports import Table
from dpedkit.report.links import files_beside, list_of_pages
from dpedkit.report.page import escape, page_file, table, write_page
from dpedkit.report.samples import patches_of, sample_files
from dpedkit.report.zoom import Shown, zoomable

_NOTE = (
    "Over patches: the mean, and the standard deviation over the seeds where there are several. "
    "Over scenes: the mean with the 95% bootstrap interval over the scenes, of scores averaged "
    "over the seeds. Colour error in 8-bit levels. The best value of each column is bold; the "
    "oracle polynomial, fitted to each photo that it is measured on, does not take part."
)


@dataclass(frozen=True)
class CompareSummary:
    """What was compared and written.

    Attributes
    ----------
    path : Path
        The page.
    comparison : Comparison
    tables : dict of str to Table
        "scores", "settings" and "differences"; those without rows are not written.
    files : list of Path
        Tables and figures beside the page.
    """

    path: Path
    comparison: Comparison
    tables: dict[str, Table]
    files: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; the numbers are those of the CSV files."""
        return {
            "report": str(self.path),
            "files": [str(file) for file in self.files],
            "patches": self.comparison.patches and list(self.comparison.patches),
            **{
                name: [dict(zip(one.columns, row, strict=True)) for row in one.values]
                for name, one in self.tables.items()
            },
        }

    def as_text(self) -> str:
        """The tables, whether their scenes are too few, and where everything is."""
        tables = [console.table(one.header, one.rows) for one in self.tables.values() if one.rows]
        caution = too_few_scenes(self.comparison.differences)
        where = f"report: {self.path}\ntables and figures: {self.path.parent}"
        parts = [self.comparison.described(), *tables, caution, where]
        return "\n\n".join(filter(None, parts))


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
    tables = {
        "scores": scores(comparison),
        "settings": settings_that_differ(comparison),
        "differences": differences(comparison.differences, MEASURES),
    }
    place = make_folder(page_file(output).parent)
    files = []
    for name, one in tables.items():
        if one.rows:
            files += one.write(place, name)
    if figures.can_draw():
        files += figures.write_figures(place, comparison)
    else:
        console.warn(
            "The figures are only on the page, not in files of their own, because matplotlib is "
            f"not installed: {figures.INSTALL}"
        )
    title = f"Comparison of {counted(len(comparison.runs), 'run')}"
    scored = tables["scores"]
    body = (
        f"<h1>{escape(title)}</h1><p>{escape(comparison.described())}</p>"
        f"{table(scored.header, scored.rows, bold=scored.bold)}"
        f'<p class="soft">{escape(_NOTE)}</p>'
        f"{_setting_section(tables['settings'])}"
        f"{_difference_section(comparison, tables['differences'])}"
        f'<h2>Training</h2><div class="charts">{_charts(comparison)}</div>'
        f"{_same_patches(comparison)}"
        f"<h2>Runs</h2>{list_of_pages([run.path for run in comparison.runs], place)}"
        f"<h2>Files</h2>{files_beside(files)}"
    )
    path = write_page(output, title, body, styles=[zoom.STYLE], scripts=[zoom.SCRIPT])
    return CompareSummary(path, comparison, tables, files)


def _setting_section(found: Table) -> str:
    if not found.rows:
        return ""
    return f"<h2>Settings that differ</h2>{table(found.header, found.rows)}"


def _difference_section(comparison: Comparison, found: Table) -> str:
    if not found.rows:
        words = (
            "There are none: the runs have no evaluation on the same patches that tells their "
            "scenes. Measure each with `dpedkit evaluate RUN SHARDS`."
        )
        return f'<h2>Differences</h2><p class="soft">{escape(words)}</p>'
    caution = too_few_scenes(comparison.differences)
    warning = f'<p class="warn">{escape(caution)}</p>' if caution else ""
    return (
        f"<h2>Differences</h2>{table(found.header, found.rows)}{warning}"
        f'<p class="soft">{escape(PAIRED)}</p>'
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
    kept: list[tuple[str, list[NDArray[np.uint8]]]] = []
    left_out = []
    for run in comparison.runs:
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
