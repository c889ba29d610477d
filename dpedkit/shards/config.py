"""Settings of the `dpedkit shards` commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dpedkit.core.config import Config, option
from dpedkit.core.errors import UsageError
from dpedkit.shards.dped import DSLR_FOLDER

COMPRESS_HELP = (
    "Compress each patch with gzip, for archives and slow networks. All commands read such "
    "shards, but several times more slowly; `dpedkit shards merge` decompresses them again."
)
VERIFY_HELP = (
    "First compare every shard that is used with its SHA-256 in the index, and refuse damaged "
    "ones. A file that was found intact is not read again until it changes."
)


def verify_option() -> Any:
    """The setting `verify` of everything that reads shards; it does not change the result."""
    return option(True, VERIFY_HELP, affects_output=False)


@dataclass(frozen=True)
class FilterConfig(Config):
    """Which patch pairs of a shards folder go into a new one."""

    min_corr: float = option(
        0.95, "Keep a patch pair when its NCC exceeds this.", minimum=-1, maximum=1
    )
    thumbnails: bool = option(
        True,
        "Keep the thumbnails of the whole phone photos, where there are any. Without them, the "
        "photos cannot be seen beyond the patches.",
    )
    compress: bool = option(False, COMPRESS_HELP)
    verify: bool = verify_option()


@dataclass(frozen=True)
class MergeConfig(Config):
    """How merged shards are stored; all patch pairs are kept, in their splits."""

    compress: bool = option(False, COMPRESS_HELP)
    verify: bool = verify_option()


@dataclass(frozen=True)
class FoldConfig(Config):
    """Which fold of a cross-validation becomes the test split."""

    fold: int = option(1, "Number of the fold, from 1.", minimum=1)
    folds: int = option(5, "Number of folds.", minimum=2)


@dataclass(frozen=True)
class ExportConfig(Config):
    """How patch pairs are written as single images."""

    phone: str = option(
        "iphone", "Name of the phone, as used in DPED's folder names.", metavar="NAME"
    )
    image: str = option(
        "jpg", "Image format: JPEG as in DPED, or lossless PNG.", choices=("jpg", "png")
    )
    thumbnails: bool = option(
        False,
        "Also write the thumbnails of the whole phone photos, as PNG, and a list of which belongs "
        "to which patch.",
    )
    verify: bool = verify_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"\w[\w-]*", self.phone):
            raise UsageError(
                f"phone is {self.phone!r}, but must be a name of letters, digits, '-' and '_': it "
                "becomes a folder name."
            )
        if self.phone.lower() == DSLR_FOLDER:
            raise UsageError(f"phone is {self.phone!r}, but that is the name of the DSLR's folder.")
