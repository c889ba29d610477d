"""How large the page of aligned pairs is, and how soon it can be used in Chromium.

    python benchmarks/report.py [--pairs 500 5000]

For each number of pairs an aligned folder is made whose images are all the same. The page is
written, which is measured in processor time, then opened five times in a browser that knows nothing
of it. Counted are the time until the list is there, until all that the page asked for is loaded,
and the time that the page takes for a filter and for a step to the next pair; the medians are
printed. It needs playwright and Chromium.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from chromium import LAPTOP, find_chromium
from fake_aligned import write_aligned

from dpedkit.core.console import table
from dpedkit.report import write_report

_GOES = 5
_TIMED = "(() => {{ const start = performance.now(); {}; return performance.now() - start; }})()"
_FILTER = _TIMED.format("byId('search').value = 'median>0.3'; update()")
_STEP = _TIMED.format("step(1)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[500, 5000])
    arguments = parser.parse_args()
    rows = []
    with sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            sys.exit("There is no Chromium.")
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for pairs in arguments.pairs:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measured(chromium, Path(folder), pairs))
        chromium.close()
    header = ("pairs", "written in", "page", "list there", "all loaded", "filter", "next pair")
    print(table(header, rows))


def measured(chromium: Any, folder: Path, pairs: int) -> tuple[str, ...]:
    """A row of the table."""
    aligned = write_aligned(folder, pairs, {})
    started = time.process_time()
    page = write_report(aligned).path
    written = time.process_time() - started
    goes = [opened(chromium, page) for _ in range(_GOES)]
    medians = [statistics.median(times) for times in zip(*goes, strict=True)]
    size = page.stat().st_size / 1e6
    return (f"{pairs:,}", f"{written:.1f} s", f"{size:.1f} MB", *(f"{ms:.0f} ms" for ms in medians))


def opened(chromium: Any, path: Path) -> tuple[float, float, float, float]:
    """Milliseconds until the list is there, until all is loaded, of a filter, of a step."""
    context = chromium.new_context(viewport=LAPTOP)
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    timing = "performance.getEntriesByType('navigation')[0]"
    found = (
        page.evaluate(f"{timing}.domContentLoadedEventEnd"),
        page.evaluate(f"{timing}.loadEventEnd"),
        page.evaluate(_FILTER),
        page.evaluate(_STEP),
    )
    context.close()
    return found


if __name__ == "__main__":
    main()
