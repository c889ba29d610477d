"""The summary of a run of `import-patches`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpedkit.core.console import table
from dpedkit.core.wording import counted
from dpedkit.shards.index import PAIRS_FILE

_SHOWN = 5  # unreadable patches that the text names; all are in the summary


@dataclass(frozen=True)
class ImportPatchesSummary:
    """What a run of `import_patches` did.

    Attributes
    ----------
    output : str
    patch_size : int
        Side of a patch in px.
    patches : dict of str to int
        Patch pairs of each split.
    failed : dict of str to str
        Patch pairs that were left out, and why, by their names in `pairs.jsonl`.
    """

    output: str
    patch_size: int
    patches: dict[str, int]
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return dict(vars(self))

    def as_text(self) -> str:
        """The summary for people."""
        size = f"{self.patch_size}x{self.patch_size}"
        lines = [
            f"{self.output}: {counted(sum(self.patches.values()), 'patch pair')} of {size} px",
            table(("split", "patch pairs"), list(self.patches.items())),
            *(f"left out: {reason}" for reason in list(self.failed.values())[:_SHOWN]),
        ]
        if len(self.failed) > _SHOWN:
            lines.append(f"... {len(self.failed)} left out in total; {PAIRS_FILE} lists them all")
        return "\n".join(lines)
