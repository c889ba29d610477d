"""`dpedkit report`."""

from __future__ import annotations

from pathlib import Path

from dpedkit.cli import options


@options.command(
    examples=(
        ("dpedkit report aligned/", "writes aligned/report/index.html"),
        ("dpedkit report shards/", "what was kept and dropped, with samples"),
    )
)
@options.path_argument("folder", "FOLDER")
def command(printer: options.Printer, folder: Path) -> None:
    """Write the HTML report of what a stage made.

    FOLDER is what align, patches or train wrote.

    The page needs no network and opens from the disk. `dpedkit align` writes its own.
    """
    from dpedkit import report

    printer.show(report.write_report(folder))
