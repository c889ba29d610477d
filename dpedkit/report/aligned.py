"""The report of `aligned/`: every pair with its verdict, and a viewer to see it for oneself."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

import numpy as np

from dpedkit.core.manifest import each_line, read_json
from dpedkit.core.records import PairRecord, SourcePhoto, rejected_by_reason
from dpedkit.report.bench import BENCH
from dpedkit.report.charts import heat_map, histogram, median_by_place
from dpedkit.report.page import (
    escape,
    is_by_this_version,
    page_file,
    table,
    write_page,
)
from dpedkit.report.viewerdata import Rows, ViewerData

MARK = "dataset.json"
PAIRS_FILE = "pairs.jsonl"

_REASONS_SHOWN = 20

_STYLES = ("aligned.css",)
_SCRIPTS = (
    *("pairlist.js", "filter.js", "drawing.js", "holds.js", "viewer.js", "decisions.js"),
    *("comparing.js", "aligned.js"),
)


def is_current(folder: Path) -> bool:
    """Whether the report of an aligned folder tells what is in it now, by this version."""
    report = page_file(folder)
    try:
        written = report.stat().st_mtime_ns
        changed = max((folder / name).stat().st_mtime_ns for name in (MARK, PAIRS_FILE))
    except OSError:
        return False
    return changed <= written and is_by_this_version(report)


def write(folder: Path) -> Path:
    """Write the report of an aligned folder and return its path."""
    dataset = read_json(folder / MARK)
    file = folder / PAIRS_FILE
    records = [PairRecord.from_dict(values, file) for _, values in each_line(file)]
    # What needs a person's eye comes first.
    records.sort(key=lambda record: (record.accepted, not record.warnings, record.index))
    viewer = ViewerData(folder, len(records))
    config = dataset["config"]
    data = {
        "pairs": [viewer.pair(record) for record in records],
        "folders": list(viewer.folders),
        "gear": list(viewer.gear),
        "suffix": config["image_format"] if config.get("images", True) else "",
        "digest": _digest(records),
    }
    accepted = sum(record.accepted for record in records)
    inputs = dataset["inputs"]
    again = shlex.join(
        ["dpedkit", "align", inputs["phone"], inputs["dslr"], "-o", str(folder.absolute())]
    )
    body = (
        f'<h1 id="heading">Aligned pairs: {accepted} accepted, {len(records) - accepted} rejected'
        "</h1>"
        f'<p class="soft">{escape(_short(inputs["phone"]))} with {escape(_short(inputs["dslr"]))}; '
        'residuals are in phone pixels. <span id="pending" hidden>Your decisions are counted, '
        "but not yet applied.</span></p>"
        f"{BENCH}"
        '<p class="hint" id="hint" hidden>To apply these decisions, run: '
        f"<code>{escape(again)} --decisions decisions.csv</code></p>"
        f"{_reasons(records)}{_charts(records, viewer.residuals)}"
    )
    return write_page(folder, "Aligned pairs", body, data=data, styles=_STYLES, scripts=_SCRIPTS)


def _short(folder: str) -> str:
    """The last two parts of a folder's path."""
    return "/".join(Path(folder).parts[-2:])


def _digest(records: list[PairRecord]) -> str:
    """Other verdicts, another digest: marks in the browser are those on these very pairs."""
    verdicts = [[record.name, record.status, record.reason] for record in records]
    return hashlib.sha256(json.dumps(verdicts).encode()).hexdigest()[:16]


def _reasons(records: list[PairRecord]) -> str:
    """Why pairs were rejected, most frequent first."""
    reasons = rejected_by_reason(records)
    if not reasons:
        return ""
    rows = [(len(names), reason) for reason, names in reasons[:_REASONS_SHOWN]]
    return "<h2>Why pairs were rejected</h2>" + table(("pairs", "reason"), rows, words=("reason",))


def _charts(records: list[PairRecord], residuals: list[tuple[SourcePhoto, Rows]]) -> str:
    """How well the accepted pairs are aligned."""
    accepted = [record.evidence for record in records if record.accepted]
    parts = []
    for key, title, label in (
        ("residual_median", "Median residual", "median residual of a pair, phone px"),
        ("ncc", "Correlation after alignment", "median NCC of a pair's blocks"),
        ("holds", "Where the map holds", "share of a pair's crop where the map is known to hold"),
    ):
        values = [evidence[key] for evidence in accepted if evidence.get(key) is not None]
        if values:
            counts, edges = np.histogram(values, min(30, max(8, len(values) // 4)))
            parts.append(histogram(counts.tolist(), edges.tolist(), title, label, "pairs"))
    parts.append(_residual_map(residuals))
    return (
        f'<h2>The accepted pairs</h2><div class="charts">{"".join(parts)}</div>' if accepted else ""
    )


def _residual_map(residuals: list[tuple[SourcePhoto, Rows]]) -> str:
    """Where on the phone photos the residuals are large: in the corners, if a lens did not fit."""
    if not residuals:
        return ""
    counts = [len(rows) for _, rows in residuals]
    sizes = np.array([(photo.width, photo.height) for photo, _ in residuals], np.float64)
    rows = np.concatenate([rows for _, rows in residuals])
    medians = median_by_place(rows[:, :2] / sizes.repeat(counts, axis=0), np.hypot(*rows[:, 2:].T))
    aspect = float(np.median(sizes[:, 1] / sizes[:, 0]))
    title = "Median residual over the phone photo"
    return heat_map(medians, aspect, title, "px, all accepted pairs", told="{:.2f}")
