"""Settings of `dpedkit patches`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dpedkit.core.config import Config, option
from dpedkit.core.errors import UsageError
from dpedkit.shards.config import COMPRESS_HELP

_FLAT = re.compile(r"keep|drop|\d+(\.\d+)?%")


@dataclass(frozen=True)
class PatchConfig(Config):
    """How windows are matched, which are kept, and how photo pairs are split."""

    min_corr: float = option(
        0.9,
        "Keep a patch pair when its normalised cross-correlation (NCC) exceeds this.",
        minimum=-1,
        maximum=1,
    )
    correlate: str = option(
        "luma",
        "Compute the NCC on luma, or on each colour channel and take the smallest.",
        choices=("luma", "channels"),
    )
    size: int = option(100, "Side of the square patches.", minimum=32, maximum=1024, metavar="PX")
    max_shift: float = option(
        5.0,
        "How far a window may be moved in x and in y to match; one that would go further is "
        "dropped.",
        minimum=0,
        maximum=32,
        metavar="PX",
    )
    max_angle: float = option(
        2.0,
        "How far a window may be turned to match; one that would go further is dropped.",
        minimum=0,
        maximum=10,
        metavar="DEGREES",
    )
    adjust: str = option(
        "dslr",
        "Which photo's window is moved and resampled. With 'dslr' the phone's pixels stay "
        "original; 'phone' is the paper's way.",
        choices=("dslr", "phone"),
    )
    flat: str = option(
        "keep",
        "What becomes of windows too plain to tell how they are shifted, such as sky. They stay "
        "where the alignment puts them and are kept, dropped, or kept up to a share of each "
        "pair's patches, for example 10%.",
        metavar="keep|drop|N%",
    )
    flat_error: float = option(
        0.3,
        "A window is flat when the standard error of its shift exceeds this.",
        minimum=0,
        maximum=32,
        metavar="PX",
    )
    max_clipped: float = option(
        0.25,
        "Drop a window when more than this share of it is pure black or white in either photo.",
        minimum=0,
        maximum=1,
        metavar="SHARE",
    )
    max_mismatch: float = option(
        1.0,
        "Drop a window when the two photos differ in one place by more than this many times "
        "what is there to see: something moved or is hidden. 0 turns the test off.",
        minimum=0,
    )
    max_part_shift: float = option(
        1.0,
        "Drop a window when a part of it that has detail is out of place by more than this: it "
        "shows two depths, or something moved. 0 turns this test off, and those by where the "
        "alignment is known to hold.",
        minimum=0,
        metavar="PX",
    )
    test_pairs: int | None = option(
        None,
        "Photo pairs reserved for the test split. By default a tenth of them, at most 100.",
        minimum=0,
        metavar="N",
    )
    val_pairs: int | None = option(
        None,
        "Photo pairs reserved for the validation split. By default a twentieth, at most 100.",
        minimum=0,
        metavar="N",
    )
    compress: bool = option(False, COMPRESS_HELP)
    licence: str = option(
        "unknown",
        "Licence of the photos, for the dataset card: 'cc-by-4.0' or the like.",
        is_note=True,
        metavar="NAME",
    )
    seed: int = option(0, "Another seed gives another division into splits.", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _FLAT.fullmatch(self.flat) or self.flat_share > 1:
            raise UsageError(
                f"flat is '{self.flat}', but must be keep, drop, or a share such as 10%."
            )

    @property
    def flat_share(self) -> float:
        """Largest share of flat windows among a pair's patches, from 0 (drop) to 1 (keep)."""
        if self.flat in ("keep", "drop"):
            return float(self.flat == "keep")
        return float(self.flat.removesuffix("%")) / 100
