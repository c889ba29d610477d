"""HTML reports of what a stage did: `aligned/`, `shards/` and `runs/NAME/` each have one.

A report is one file that needs no network; full-size pictures are linked, not copied.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpedkit.core.errors import DpedkitError

if TYPE_CHECKING:
    from dpedkit.report.comparison import CompareSummary

# Modules, imported until one fits: only the last needs PyTorch, which takes seconds to load.
_KINDS = ("aligned", "shards", "run")


@dataclass(frozen=True)
class ReportSummary:
    """Where the report was written."""

    path: Path

    def to_dict(self) -> dict[str, Any]:
        return {"report": str(self.path)}

    def as_text(self) -> str:
        return f"report: {self.path}"


def write_report(folder: str | Path) -> ReportSummary:
    """Write `folder`/report/index.html for an aligned folder, a shards folder or a run.

    Raises
    ------
    DpedkitError
        If the folder is none of these.
    """
    folder = Path(folder)
    if folder.is_file():
        raise DpedkitError(f"{folder} is a file; give the folder that it is in.")
    if not folder.is_dir():
        raise DpedkitError(f"{folder}: there is no such folder.")
    for name in _KINDS:
        kind = importlib.import_module(f"dpedkit.report.{name}")
        if (folder / kind.MARK).is_file():
            return ReportSummary(kind.write(folder))
    raise DpedkitError(
        f"{folder} was not made by align, patches or train; give aligned/, shards/ or runs/NAME."
    )


def holds_runs(folder: Path) -> bool:
    """Whether a folder holds the folders of runs, and is not itself one that a stage made."""
    marks = (importlib.import_module(f"dpedkit.report.{name}").MARK for name in _KINDS)
    if not folder.is_dir() or any((folder / mark).is_file() for mark in marks):
        return False
    from dpedkit.report.compared import runs_in

    return bool(runs_in(folder))


def compare(folders: Sequence[Path], output: Path | None = None) -> CompareSummary:
    """Compare runs on one page.

    Parameters
    ----------
    folders : sequence of Path
        Runs; or one folder that holds them.
    output : Path, optional
        The page is `output`/report/index.html. By default, `output` is the folder that holds the
        runs, or `comparison` if they are given one by one.

    Raises
    ------
    DpedkitError
        If there are fewer than two runs, or one of the folders is not a run's.
    """
    from dpedkit.report.compared import runs_in
    from dpedkit.report.comparison import compare_runs

    if len(folders) == 1:
        return compare_runs(runs_in(folders[0]), output or folders[0])
    return compare_runs(folders, output or Path("comparison"))


def current_report(folder: str | Path) -> ReportSummary:
    """The report of an aligned folder; written if there is none that tells what is there now.

    Raises
    ------
    DpedkitError
        As `write_report`.
    """
    from dpedkit.report import aligned, page

    folder = Path(folder)
    if aligned.is_current(folder):
        return ReportSummary(page.page_file(folder))
    return write_report(folder)
