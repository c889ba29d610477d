"""The page of a sweep, with its tables as files for programs and papers."""

from __future__ import annotations

from pathlib import Path

from dpedkit.core.atomic import make_folder
from dpedkit.report.links import files_beside, list_of_pages
from dpedkit.report.page import escape, page_file, table, write_page
from dpedkit.sweep import tables
from dpedkit.sweep.results import SweepSummary


def write_sweep_page(summary: SweepSummary, runs: list[Path]) -> Path:
    """Write `report/index.html` in the folder of the sweep, and CSV and LaTeX files beside it.

    Parameters
    ----------
    summary : SweepSummary
    runs : list of Path
        The folders of its runs, to which the page links.
    """
    compared, note = tables.paired(summary)
    found = {"scores": tables.scores(summary), "differences": compared}
    if summary.folds:
        found["folds"] = tables.folds(summary)
    place = make_folder(page_file(summary.output).parent)
    files = [file for name, one in found.items() if one.rows for file in one.write(place, name)]
    title = f"Sweep of {summary.recipe}"
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(summary.described())}</p>",
        table(found["scores"].header, found["scores"].rows),
        f'<p class="soft">{escape(" ".join(summary.notes()))}</p>',
        f"<h2>Differences</h2>{table(compared.header, compared.rows)}",
        f'<p class="soft">{escape(note)}</p>',
    ]
    if "folds" in found:
        parts.append(f"<h2>Folds</h2>{table(found['folds'].header, found['folds'].rows)}")
    parts.append(f"<h2>Runs</h2>{list_of_pages(runs, place)}")
    parts.append(f"<h2>Files</h2>{files_beside(files)}")
    return write_page(summary.output, title, "".join(parts))
