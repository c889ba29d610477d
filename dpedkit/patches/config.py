"""Settings of `dpedkit patches`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dpedkit.core.config import Config, option
from dpedkit.core.errors import UsageError
from dpedkit.core.publication import (
    authors_option,
    citation_option,
    doi_option,
    licence_option,
    settle_statements,
)
from dpedkit.shards.config import COMPRESS_HELP

_STATED, _COUNTS = ("split", "split_file"), ("test_pairs", "val_pairs")
_FLAT = re.compile(r"keep|drop|\d+(\.\d+)?%")


@dataclass(frozen=True)
class PatchConfig(Config):
    """How windows are matched, which are kept, and how photo pairs are split."""

    min_corr: float = option(
        0.9,
        "Keep a patch pair if its normalised cross-correlation (NCC) exceeds this.",
        minimum=-1,
        maximum=1,
    )
    correlate: str = option(
        "luma",
        "Compute the NCC on luma, or on each colour channel, taking the smallest.",
        choices=("luma", "channels"),
    )
    size: int = option(100, "Side of the square patches.", minimum=32, maximum=1024, metavar="PX")
    max_shift: float = option(
        5.0,
        "Maximum shift of a window in x and in y to match; windows that need more are dropped.",
        minimum=0,
        maximum=32,
        metavar="PX",
    )
    max_angle: float = option(
        2.0,
        "Maximum rotation of a window to match; windows that need more are dropped.",
        minimum=0,
        maximum=10,
        metavar="DEGREES",
    )
    adjust: str = option(
        "dslr",
        "Which photo's window is moved and resampled. With 'dslr', the phone's pixels stay "
        "original; 'phone' is the method of the paper.",
        choices=("dslr", "phone"),
    )
    flat: str = option(
        "keep",
        "What to do with windows that have too little texture to measure their shift, such as "
        "sky. They stay where the alignment puts them, and are kept, dropped, or kept up to a "
        "percentage of each pair's patches, for example 10%.",
        metavar="keep|drop|N%",
    )
    flat_error: float = option(
        0.3,
        "A window counts as flat if the standard error of its shift exceeds this.",
        minimum=0,
        maximum=32,
        metavar="PX",
    )
    max_clipped: float = option(
        0.25,
        "Drop a window if more than this fraction of it is clipped to black or white in either "
        "photo.",
        minimum=0,
        maximum=1,
        metavar="SHARE",
    )
    max_mismatch: float = option(
        1.0,
        "Drop a window if the two photos differ somewhere, because of motion or occlusion, by a "
        "residual above this multiple of the local variance. 0 turns the test off.",
        minimum=0,
    )
    max_part_shift: float = option(
        1.0,
        "Drop a window if a part of it with detail is out of place by more than this, because it "
        "shows two depths or something moved. 0 turns off this test, and those of where the "
        "alignment holds.",
        minimum=0,
        metavar="PX",
    )
    test_pairs: int | None = option(
        None,
        "Photo pairs reserved for the test split. Default: a tenth of them, at most 100.",
        minimum=0,
        metavar="N",
    )
    val_pairs: int | None = option(
        None,
        "Photo pairs reserved for the validation split. Default: a twentieth, at most 100.",
        minimum=0,
        metavar="N",
    )
    split: str | None = option(
        None,
        "Put all photo pairs into this split, for example 'test' for photos that are only for "
        "testing.",
        choices=("train", "val", "test"),
    )
    split_file: str | None = option(
        None,
        "CSV file that gives every photo pair its split, one pair per line: name, split (train, "
        "val or test).",
        metavar="FILE",
        affects_output=False,  # what it says is compared instead
        is_file=True,
    )
    group_file: str | None = option(
        None,
        "CSV file of photo pairs that belong together, one pair per line: name, group. The pairs "
        "of a group, such as the photos of one scene, are never divided between splits; "
        "--test-pairs and --val-pairs then count groups. A pair that is not listed is a group of "
        "its own.",
        metavar="FILE",
        affects_output=False,
        is_file=True,
    )
    thumbnails: bool = option(
        True,
        "Store a thumbnail of each whole phone photo, 256 px on its longer side, so that a network "
        "can see more of the photo than a patch. If the shards are published, it shows the whole "
        "photo.",
    )
    compress: bool = option(False, COMPRESS_HELP)
    licence: str = licence_option("photos")
    authors: str | None = authors_option("photos")
    citation: str | None = citation_option("photos")
    doi: str | None = doi_option("photos")
    seed: int = option(0, "Seed of the random division into splits.", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        settle_statements(self)
        if not _FLAT.fullmatch(self.flat) or self.flat_share > 1:
            raise UsageError(
                f"flat is '{self.flat}', but must be keep, drop, or a percentage such as 10%."
            )
        given = [name for name in _STATED if getattr(self, name) is not None]
        counts = [name for name in _COUNTS if getattr(self, name) is not None]
        if len(given) > 1 or (given and counts):
            raise UsageError(f"{' and '.join([*given, *counts])} cannot be used together.")

    @property
    def flat_share(self) -> float:
        """Maximum fraction of flat windows among a pair's patches, from 0 (drop) to 1 (keep)."""
        if self.flat in ("keep", "drop"):
            return float(self.flat == "keep")
        return float(self.flat.removesuffix("%")) / 100
