"""The report of `shards/`: what was kept and dropped, why, and what the patches look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.report.charts import histogram
from dpedkit.report.page import escape, picture, table, tiles, write_page
from dpedkit.shards import open_split, read_index
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import PAIRS_FILE, ShardIndex, read_pairs

MARK = "index.json"
_SAMPLES = 24
_LOWEST_NCC_SHOWN = 0.3  # the histogram's left edge; what lies below is counted in words
_PAIRS_SHOWN = 1000
_GAP = 4


def write(folder: Path) -> Path:
    """Write the report of a shards folder and return its path."""
    index = read_index(folder)
    windows = index.content["windows"]
    pairs = read_pairs(folder)
    body = (
        f"<h1>{windows['kept']:,} patch pairs kept of {windows['tried']:,} windows tried</h1>"
        f'<p class="soft">{len(pairs)} photo pairs; patches of {index.patch_size} x '
        f"{index.patch_size} px.</p>"
        + _why_dropped(windows)
        + '<h2>Windows</h2><div class="charts">'
        + _charts(index, windows)
        + "</div><h2>Splits</h2>"
        + _splits(index, pairs)
        + _samples(folder, index)
        + "<h2>Photo pairs</h2>"
        + _pairs(pairs)
    )
    return write_page(folder, "Patch pairs", body)


def _why_dropped(windows: dict[str, Any]) -> str:
    tried = max(windows["tried"], 1)
    rows = [(reason, count, f"{count / tried:.1%}") for reason, count in windows["dropped"].items()]
    return "<h2>Why windows were dropped</h2>" + table(("reason", "windows", "share"), rows)


def _charts(index: ShardIndex, windows: dict[str, Any]) -> str:
    threshold = float(index.content["patch_config"]["min_corr"])
    ncc, shift = windows["ncc"], windows["shift"]
    first = int(np.searchsorted(ncc["edges"], min(_LOWEST_NCC_SHOWN, threshold) - 1e-9))
    below = sum(ncc["counts"][:first])
    label = "NCC of the windows tried" + (f" ({below} lie further left)" if below else "")
    used = max((i for i, count in enumerate(shift["counts"]) if count), default=0) + 2
    return histogram(
        ncc["counts"][first:], ncc["edges"][first:], label, threshold, f"--min-corr {threshold:g}"
    ) + histogram(
        shift["counts"][:used],
        shift["edges"][: used + 1],
        "shift that the match added to the alignment, px (kept windows)",
    )


def _splits(index: ShardIndex, pairs: list[dict[str, Any]]) -> str:
    rows = [
        (
            split,
            sum(pair.get("split") == split for pair in pairs),
            index.count(split),
            len(index.shards[split]),
        )
        for split in SPLITS
    ]
    return table(("split", "photo pairs", "patch pairs", "shards"), rows)


def _samples(folder: Path, index: ShardIndex) -> str:
    """Random patch pairs and those closest to the threshold, phone left and DSLR right."""
    if not index.count("train"):
        return ""
    reader = open_split(folder, "train")
    chosen = np.random.default_rng(0).permutation(len(reader))[:_SAMPLES]
    lowest = np.argsort(reader.ncc, kind="stable")[:_SAMPLES]
    parts = []
    for title, numbers in (
        ("Random patch pairs (phone | DSLR)", np.sort(chosen)),
        ("The patch pairs of lowest NCC that were kept", lowest),
    ):
        phone, dslr = reader.gather(numbers)
        ncc = reader.ncc[numbers]
        pictures = [
            picture(_beside(a, b), f"NCC {value:.3f}")
            for a, b, value in zip(phone, dslr, ncc, strict=True)
        ]
        parts.append(f"<h2>{escape(title)}</h2>{tiles(pictures)}")
    return "".join(parts)


def _beside(phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gap = np.full((phone.shape[0], _GAP, 3), 128, np.uint8)
    return np.hstack([phone, gap, dslr])


def _pairs(pairs: list[dict[str, Any]]) -> str:
    """The photo pairs of which least was kept; a page cannot list the 160,000 of DPED."""
    rows = []
    worst = sorted(pairs, key=lambda pair: pair["kept"] / max(pair["tried"], 1))
    for pair in worst[:_PAIRS_SHOWN]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in pair["dropped"].items())
        error = pair.get("error", "")
        rows.append((pair["name"], pair["split"], pair["tried"], pair["kept"], error or reasons))
    left = len(pairs) - len(rows)
    note = f'<p class="soft">{left:,} more are in {PAIRS_FILE}.</p>' if left else ""
    return table(("pair", "split", "tried", "kept", "dropped"), rows) + note
