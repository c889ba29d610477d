"""The summary of a run of `patches`, or why nothing was kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.console import table
from dpedkit.patches.config import PatchConfig
from dpedkit.patches.matching import DROP_REASONS
from dpedkit.shards.statistics import window_totals


@dataclass(frozen=True)
class PatchSummary:
    """Result of a run of `cut_patches`.

    Attributes
    ----------
    output : str
    pairs : int
        Accepted pairs of the aligned folder.
    failed : dict of str to str
        Pairs whose aligned photos are unusable, each with its reason.
    tried, kept : int
        Windows.
    dropped : dict of str to int
        Number of windows dropped for each reason.
    splits : dict of str to dict
        Number of photo pairs, of those with a thumbnail, and of patches of each split.
    resumed_complete : bool
        Whether an earlier run had finished everything.
    """

    output: str
    pairs: int
    failed: dict[str, str]
    tried: int
    kept: int
    dropped: dict[str, int]
    splits: dict[str, dict[str, int]]
    resumed_complete: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return dict(vars(self))

    def as_text(self) -> str:
        """The summary in words."""
        lines = [
            f"{self.output}: {self.kept} patch pairs kept of {self.tried} windows tried on "
            f"{self.pairs - len(self.failed)} photo pairs",
        ]
        if self.dropped:
            lines.append(_reasons_table(self.dropped, self.tried))
        rows = [
            (name, its["pairs"], its["thumbnails"], its["patches"])
            for name, its in self.splits.items()
        ]
        lines.append(table(("split", "photo pairs", "thumbnails", "patch pairs"), rows))
        lines += [f"left out: {name}: {reason}" for name, reason in self.failed.items()]
        return "\n".join(lines)


def summarise(output: Path, index: dict[str, Any], resumed_complete: bool = False) -> PatchSummary:
    """The summary of a finished shards folder, from its `index.json`."""
    windows = index["windows"]
    return PatchSummary(
        output=str(output),
        pairs=index["pairs"],
        failed=index["failed"],
        tried=windows["tried"],
        kept=windows["kept"],
        dropped=windows["dropped"],
        splits={
            split: {
                "pairs": its["pairs"],
                "thumbnails": its.get("thumbnails", 0),  # format 1 has none
                "patches": its["patches"],
            }
            for split, its in index["splits"].items()
        },
        resumed_complete=resumed_complete,
    )


def _reasons_table(dropped: dict[str, int], tried: int) -> str:
    rows = [
        (f"{reason}: {DROP_REASONS[reason]}", count, f"{100 * count / tried:.1f}%")
        for reason, count in dropped.items()
    ]
    return table(("dropped", "windows", "share"), rows)


def nothing_kept(output: Path, pairs: list[dict[str, Any]], config: PatchConfig) -> str:
    """Why no patch was kept, and the remedy for the most frequent reason."""
    tried = sum(pair["tried"] for pair in pairs)
    failed = [pair for pair in pairs if "error" in pair]
    if failed and not tried:
        return f"{output}: no pair is usable. {failed[0]['name']}: {failed[0]['error']}"
    if not tried:
        return (
            f"{output}: no aligned photo is large enough for a window of {config.size} px; "
            "use a smaller --size."
        )
    dropped = window_totals(pairs)["dropped"]
    worst = max(dropped, key=lambda reason: dropped[reason])
    cure = {
        "low NCC": f"lower --min-corr (now {config.min_corr}), or check the alignment in the "
        "report of the aligned folder",
        "clipped": "raise --max-clipped",
        "flat": "use --flat keep",
        "mismatch": "raise --max-mismatch",
        "parts": "raise --max-part-shift, or check the alignment in the report of the aligned "
        "folder",
    }.get(worst, "check the alignment in the report of the aligned folder")
    return f"{output}: none of the {tried} windows was kept; {cure}.\n" + _reasons_table(
        dropped, tried
    )
