"""The report of `shards/`: what was kept and dropped, why, and what the patches look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.wording import counted
from dpedkit.report.charts import bars, heat_map, histogram
from dpedkit.report.losses import pair_losses
from dpedkit.report.page import cards, escape, picture, table, tiles, write_page
from dpedkit.report.patchstats import comparison, kept_correlations
from dpedkit.report.windows import DroppedWindow, dropped_windows, kept_shares
from dpedkit.shards import open_split, read_index
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import PAIRS_FILE, ShardIndex, read_pairs
from dpedkit.shards.reader import SplitReader

MARK = "index.json"
_SAMPLES = 24
_DROPPED_EACH = 6  # windows shown for each reason
_LOWEST_NCC_SHOWN = 0.3  # the histogram's left edge; what lies below is counted in words
_PAIRS_SHOWN = 1000
_GAP = 4


def write(folder: Path) -> Path:
    """Write the report of a shards folder and return its path."""
    index = read_index(folder)
    windows = index.content["windows"]
    pairs = read_pairs(folder)
    readers = [open_split(folder, split) for split in SPLITS]
    size = index.patch_size
    share = windows["kept"] / max(windows["tried"], 1)
    body = (
        "<h1>Patch pairs</h1>"
        + cards(
            [
                (f"{windows['kept']:,}", "patch pairs kept"),
                (f"{windows['tried']:,}", "windows tried"),
                (f"{share:.1%}", "kept"),
                (f"{len(pairs):,}", "photo pairs"),
                (f"{size} x {size} px", "patch size"),
            ]
        )
        + f'<div class="charts">{_charts(index, windows, readers, pairs)}</div>'
        + f"<h2>Splits</h2>{_splits(index, pairs)}"
        + comparison(readers)
        + pair_losses(folder)
        + _samples(readers)
        + _dropped(index, pairs)
        + f"<h2>Photo pairs, lowest share kept first</h2>{_pairs(pairs)}"
    )
    return write_page(folder, "Patch pairs", body)


def _charts(
    index: ShardIndex,
    windows: dict[str, Any],
    readers: list[SplitReader],
    pairs: list[dict[str, Any]],
) -> str:
    settings = index.content["patch_config"]
    ncc, shift = windows["ncc"], windows["shift"]
    threshold = float(settings["min_corr"])
    first = int(np.searchsorted(ncc["edges"], min(_LOWEST_NCC_SHOWN, threshold) - 1e-9))
    below = sum(ncc["counts"][:first])
    ncc_label = "NCC" + (f" ({counted(below, 'window')} further left)" if below else "")
    limit = settings.get("max_shift")
    furthest = max((i for i, count in enumerate(shift["counts"]) if count), default=0) + 1
    used = min(furthest + 1, len(shift["counts"]))
    reached = limit is not None and limit <= shift["edges"][used]
    mark = (float(limit), f"--max-shift {limit:g} px") if reached else None
    fates = {"kept": windows["kept"], **windows["dropped"]}
    parts = [
        histogram(
            ncc["counts"][first:],
            ncc["edges"][first:],
            "Correlation of all windows",
            ncc_label,
            "windows",
            (threshold, f"--min-corr {threshold:g}"),
        ),
        kept_correlations(readers, threshold),
        histogram(
            shift["counts"][:used],
            shift["edges"][: used + 1],
            "Shift between the two aligned photos",
            "px, measured in windows with enough detail",
            "windows",
            mark,
            dim_below=False,
        ),
    ]
    parts.append(bars(fates, "Outcome of the windows", "windows", first_good=True))
    if all("crop" in pair for pair in pairs) and any(map(len, readers)):
        shares, aspect = kept_shares(readers, pairs)
        title = "Where in the aligned photos patches were kept"
        parts.append(heat_map(shares, aspect, title, "of the photo pairs have a patch here"))
    return "".join(parts)


def _splits(index: ShardIndex, pairs: list[dict[str, Any]]) -> str:
    total = max(sum(index.count(split) for split in SPLITS), 1)
    rows = [
        (
            split,
            f"{sum(pair.get('split') == split for pair in pairs):,}",
            f"{index.count(split):,}",
            f"{index.count(split) / total:.1%}",
            len(index.shards[split]),
        )
        for split in SPLITS
    ]
    return table(("split", "photo pairs", "patch pairs", "share", "shards"), rows)


def _samples(readers: list[SplitReader]) -> str:
    """Random patch pairs and those closest to the threshold, phone left and DSLR right."""
    reader = readers[0]
    if not len(reader):
        return ""
    chosen = np.random.default_rng(0).permutation(len(reader))[:_SAMPLES]
    lowest = np.argsort(reader.ncc, kind="stable")[:_SAMPLES]
    shifts = reader.column("shift")
    parts = []
    for title, numbers in (
        ("Kept, chosen at random (phone | DSLR)", np.sort(chosen)),
        ("Kept, closest to the threshold", lowest),
    ):
        phone, dslr = reader.gather(numbers)
        pictures = [
            (
                picture(_beside(a, b), f"NCC {ncc:.3f}"),
                f"NCC {ncc:.3f}, moved {_length(shift):.2f} px",
            )
            for a, b, ncc, shift in zip(
                phone, dslr, reader.ncc[numbers], shifts[numbers], strict=True
            )
        ]
        parts.append(f"<h2>{escape(title)}</h2>{tiles(pictures)}")
    return "".join(parts)


def _dropped(index: ShardIndex, pairs: list[dict[str, Any]]) -> str:
    """Dropped windows of every reason, from the aligned photos if these are still there."""
    if not index.content["windows"]["dropped"] or "aligned" not in index.content:
        return ""
    aligned = index.folder / index.content["aligned"]
    windows = dropped_windows(aligned, pairs, index.patch_size, _DROPPED_EACH)
    title = "<h2>Dropped, chosen at random</h2>"
    if not windows:
        return (
            f'{title}<p class="soft">{escape(aligned.name)} and its photos are no longer there.</p>'
        )
    return title + tiles([_dropped_tile(window) for window in windows])


def _dropped_tile(window: DroppedWindow) -> tuple[str, str]:
    ncc = "" if window.ncc is None else f", NCC {window.ncc:.3f}"
    words = f"{window.reason}{ncc}, pair {window.pair}"
    return picture(_beside(window.phone, window.dslr), words), words


def _length(shift: NDArray[np.float32]) -> float:
    return float(np.hypot(*shift))


def _beside(phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gap = np.full((phone.shape[0], _GAP, 3), 128, np.uint8)
    return np.hstack([phone, gap, dslr])


def _pairs(pairs: list[dict[str, Any]]) -> str:
    """The photo pairs with the lowest share kept; a page cannot list the 160,000 of DPED."""
    rows = []
    worst = sorted(pairs, key=lambda pair: pair["kept"] / max(pair["tried"], 1))
    for pair in worst[:_PAIRS_SHOWN]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in pair["dropped"].items())
        error = pair.get("error", "")
        kept = f"{pair['kept'] / max(pair['tried'], 1):.0%}"
        row = (pair["name"], pair["split"] or "-", pair["tried"], pair["kept"], kept)
        rows.append((*row, error or reasons))
    left = len(pairs) - len(rows)
    note = f'<p class="soft">{left:,} more are in {PAIRS_FILE}.</p>' if left else ""
    header = ("pair", "split", "tried", "kept", "share", "dropped")
    return table(header, rows, words=("split", "dropped")) + note
