"""HTML reports of what a stage did: `aligned/`, `shards/` and `runs/NAME/` each have one.

A report is one file that needs no network; full-size pictures are linked, not copied.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.errors import DpedkitError

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
