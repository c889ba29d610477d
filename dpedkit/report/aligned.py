"""The report of `aligned/`: every pair with its verdict, and a viewer to see it for oneself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpedkit.manifest import read_json, read_jsonl
from dpedkit.records import PairRecord
from dpedkit.report.page import escape, write_page

MARK = "dataset.json"
PAIRS_FILE = "pairs.jsonl"


def write(folder: Path) -> Path:
    """Write the report of an aligned folder and return its path."""
    dataset = read_json(folder / MARK)
    records = [
        PairRecord.from_dict(values, folder / PAIRS_FILE)
        for values in read_jsonl(folder / PAIRS_FILE)
    ]
    suffix = str(dataset["config"].get("image_format", "png"))
    pairs = [_for_viewer(record, suffix) for record in records]
    # What needs a person's eye comes first.
    pairs.sort(key=lambda pair: (pair["accepted"], not pair["warnings"]))
    accepted = sum(record.accepted for record in records)
    inputs = dataset["inputs"]
    body = (
        f"<h1>Aligned pairs: {accepted} accepted, {len(records) - accepted} rejected</h1>"
        f'<p class="soft">{escape(_short(inputs["phone"]))} with {escape(_short(inputs["dslr"]))}. '
        "Residuals are in phone pixels. Keys: arrows choose a pair, 1-8 a view, space flickers, "
        "wheel zooms, drag moves, double click resets.</p>"
        f"{_BENCH}"
    )
    return write_page(folder, "Aligned pairs", body, data={"pairs": pairs}, scripts=["aligned.js"])


def _short(folder: str) -> str:
    """The last two parts of a folder's path."""
    return "/".join(Path(folder).parts[-2:])


def _for_viewer(record: PairRecord, suffix: str) -> dict[str, Any]:
    """What the viewer needs of a record; images as addresses relative to the page."""
    evidence = record.evidence
    return {
        "name": record.name,
        "accepted": record.accepted,
        "reason": record.reason,
        "warnings": list(record.warnings),
        "images": [f"../{side}/{record.name}.{suffix}" for side in ("phone", "dslr")],
        "originals": [Path(photo.file).as_uri() for photo in (record.phone, record.dslr)],
        "sizes": [[photo.width, photo.height] for photo in (record.phone, record.dslr)],
        "crop": list(record.crop),
        "median": evidence.get("residual_median"),
        "p95": evidence.get("residual_p95"),
        "ncc": evidence.get("ncc"),
        "verified": evidence.get("verified"),
        "inliers": evidence.get("inliers"),
        "coverage": evidence.get("coverage"),
        "model": evidence.get("model", ""),
        "matches": evidence.get("inlier_matches", []),
        "residuals": evidence.get("residuals", []),
    }


_VIEWS = (
    ("side", "side by side"),
    ("swipe", "swipe"),
    ("flicker", "flicker"),
    ("overlay", "overlay"),
    ("difference", "difference"),
    ("checker", "checkerboard"),
    ("matches", "matches"),
    ("residuals", "residuals"),
)

_BENCH = f"""
<div class="tools">
  <input id="search" type="search" placeholder="name or reason" aria-label="filter by name">
  <select id="verdict" aria-label="filter by verdict">
    <option value="">all pairs</option><option value="rejected">rejected</option>
    <option value="warned">with a warning</option><option value="accepted">accepted</option>
  </select>
  <span id="count" class="soft"></span>
</div>
<div class="bench">
  <div class="list" id="list"><table><thead><tr>
    <th data-key="name">pair</th><th data-key="median">median px</th>
    <th data-key="p95">p95 px</th><th data-key="ncc">NCC</th><th data-key="verified">verified</th>
    <th data-key="inliers">inliers</th><th data-key="reason">verdict</th>
  </tr></thead><tbody id="rows"></tbody></table></div>
  <div class="show">
    <div class="tools" id="views">{
    "".join(f'<button data-view="{view}">{words}</button>' for view, words in _VIEWS)
}</div>
    <div class="stage" id="stage">
      <div class="pane phone"><img id="phone" alt="phone photo" draggable="false"></div>
      <div class="pane dslr"><img id="dslr" alt="DSLR photo" draggable="false"></div>
      <div class="divider"></div>
      <svg class="drawing" id="drawing"></svg>
    </div>
    <div class="caption" id="caption"></div>
  </div>
</div>
"""
