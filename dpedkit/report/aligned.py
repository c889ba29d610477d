"""The report of `aligned/`: every pair with its verdict, and a viewer to see it for oneself."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from dpedkit.core.details import PairDetails
from dpedkit.core.manifest import each_line, read_json
from dpedkit.core.records import THUMBNAILS, PairRecord, rejected_by_reason
from dpedkit.report.bench import BENCH
from dpedkit.report.cells import cells_of
from dpedkit.report.charts import histogram
from dpedkit.report.page import (
    escape,
    is_by_this_version,
    jpeg_uri,
    page_file,
    table,
    write_page,
)
from dpedkit.surfaces import labels_of

MARK = "dataset.json"
PAIRS_FILE = "pairs.jsonl"

# A page with thousands of pairs must still open at once: what it may carry in all.
_DRAWN_BYTES = 3_000_000  # matches and residuals, 8 bytes each, before base64
_CELLS_BYTES = 1_600_000  # where the maps hold, before base64
_THUMBNAIL_BYTES = 2_000_000  # of the first ones; the others are linked
_DRAWN_EACH = (12, 450)  # matches and residuals of a pair, at least and at most
_RESIDUAL_SHARE = 2 / 3
_REASONS_SHOWN = 20
_RESIDUAL_SCALE = 1000  # thousandths of a px, as drawing.js knows

_STYLES = ("aligned.css",)
_SCRIPTS = ("pairlist.js", "drawing.js", "holds.js", "viewer.js", "decisions.js", "aligned.js")


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
    thumbnails = _Thumbnails(folder / THUMBNAILS)
    drawn = _drawn_each(len(records))
    cells = _CELLS_BYTES // max(len(records), 1)
    config = dataset["config"]
    data = {
        "pairs": [
            _for_viewer(
                record,
                PairDetails.of(folder, record),
                drawn,
                cells,
                thumbnails.of(record.name),
            )
            for record in records
        ],
        "suffix": config["image_format"] if config.get("images", True) else "",
        "digest": _digest(records),
    }
    accepted = sum(record.accepted for record in records)
    inputs = dataset["inputs"]
    again = shlex.join(
        ["dpedkit", "align", inputs["phone"], inputs["dslr"], "-o", str(folder.absolute())]
    )
    body = (
        f"<h1>Aligned pairs: {accepted} accepted, {len(records) - accepted} rejected</h1>"
        f'<p class="soft">{escape(_short(inputs["phone"]))} with {escape(_short(inputs["dslr"]))}; '
        "residuals are in phone pixels.</p>"
        f"{BENCH}"
        '<p class="hint" id="hint" hidden>To apply these decisions, run: '
        f"<code>{escape(again)} --decisions decisions.csv</code></p>"
        f"{_reasons(records)}{_charts(records)}"
    )
    return write_page(folder, "Aligned pairs", body, data=data, styles=_STYLES, scripts=_SCRIPTS)


def _short(folder: str) -> str:
    """The last two parts of a folder's path."""
    return "/".join(Path(folder).parts[-2:])


def _digest(records: list[PairRecord]) -> str:
    """Other verdicts, another digest: marks in the browser are those on these very pairs."""
    verdicts = [[record.name, record.status, record.reason] for record in records]
    return hashlib.sha256(json.dumps(verdicts).encode()).hexdigest()[:16]


class _Thumbnails:
    """The thumbnails that `align` left: the first ones for the page to carry, the rest linked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        self.room = _THUMBNAIL_BYTES

    def of(self, name: str) -> str | bool:
        """The picture as an address that carries it; True if it is a file, False if none."""
        file = f"{name}.jpg"
        if file not in self.there or self.room <= 0:
            return file in self.there
        content = (self.folder / file).read_bytes()
        self.room -= len(content)
        return jpeg_uri(content)


def _for_viewer(
    record: PairRecord, details: PairDetails, drawn: int, cells: int, thumbnail: str | bool
) -> dict[str, Any]:
    """What the viewer needs of a pair."""
    evidence = record.evidence
    residuals = round(drawn * _RESIDUAL_SHARE)
    scale = np.array([1, 1, _RESIDUAL_SCALE, _RESIDUAL_SCALE])
    return {
        "name": record.name,
        "accepted": record.accepted,
        "reason": record.reason,
        "byHand": record.rejected_by_hand,
        "acceptedByHand": record.accepted_by_hand,
        "hasMap": bool(details.map),
        "note": record.note,
        "warnings": list(record.warnings),
        "thumbnail": thumbnail,
        "originals": [Path(photo.file).as_uri() for photo in (record.phone, record.dslr)],
        "sizes": [[photo.width, photo.height] for photo in (record.phone, record.dslr)],
        "crop": list(record.crop),
        "median": evidence.get("residual_median"),
        "p95": evidence.get("residual_p95"),
        "ncc": evidence.get("ncc"),
        "holds": evidence.get("holds"),
        "in_place": evidence.get("in_place"),
        "verified": evidence.get("verified"),
        "inliers": evidence.get("inliers"),
        "coverage": evidence.get("coverage"),
        "model": evidence.get("model", ""),
        "matches": _packed(details.inlier_matches, drawn - residuals, np.ones(4)),
        "residuals": _packed(details.residuals, residuals, scale),
        "cells": _cells(record, details, cells),
    }


def _cells(record: PairRecord, details: PairDetails, limit: int) -> dict[str, Any] | None:
    """Where the map holds, in the crop or, where there is none, in the whole photo."""
    values = details.map.get("surfaces")
    if values is None:
        return None
    whole = (0, 0, record.phone.width, record.phone.height)
    return cells_of(*labels_of(values), record.crop if record.crop[2] else whole, limit)


def _drawn_each(pairs: int) -> int:
    """How many matches and residuals of each pair the page can carry."""
    low, high = _DRAWN_EACH
    return min(max(_DRAWN_BYTES // (8 * max(pairs, 1)), low), high)


def _packed(rows: list[list[float]], limit: int, scale: np.ndarray[Any, Any]) -> str:
    """At most `limit` rows, evenly taken, as base64 of little-endian 16-bit integers."""
    if not rows:
        return ""
    chosen = [rows[number] for number in _evenly(len(rows), limit)]
    numbers = np.rint(np.array(chosen) * scale).astype(np.int64)
    # Positions may pass 32767 and wrap around, which drawing.js undoes; shifts never do.
    return base64.b64encode(numbers.astype("<i2").tobytes()).decode()


@functools.lru_cache(maxsize=256)
def _evenly(count: int, limit: int) -> list[int]:
    chosen: list[int] = np.linspace(0, count - 1, min(limit, count)).round().astype(int).tolist()
    return chosen


def _reasons(records: list[PairRecord]) -> str:
    """Why pairs were rejected, most frequent first."""
    reasons = rejected_by_reason(records)
    if not reasons:
        return ""
    rows = [(len(names), reason) for reason, names in reasons[:_REASONS_SHOWN]]
    return "<h2>Why pairs were rejected</h2>" + table(("pairs", "reason"), rows, words=("reason",))


def _charts(records: list[PairRecord]) -> str:
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
    return f'<h2>The accepted pairs</h2><div class="charts">{"".join(parts)}</div>' if parts else ""
