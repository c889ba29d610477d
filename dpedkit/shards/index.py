"""`index.json` and `pairs.jsonl`: what a shards folder says about itself.

`index.json` describes the folder: format version, settings of `patches` and of `align`, and for
each split its shards with their lengths and SHA-256. Line n of `pairs.jsonl` says where photo
pair n came from, its split, and how many of its windows were kept and dropped.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_json, read_jsonl
from dpedkit.shards.format import READABLE_SHARDS, SPLITS

KIND = "shards"
INDEX_FILE = "index.json"
PAIRS_FILE = "pairs.jsonl"

_SHARD_NAME = re.compile(r"(train|val|test)-\d{5}\.h5")


@dataclass(frozen=True)
class ShardEntry:
    """One shard as the index lists it: file name, number of patch pairs, SHA-256 of the file."""

    file: str
    patches: int
    sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """A complete shards folder.

    Attributes
    ----------
    folder : Path
    patch_size : int
        Side of a patch in px.
    shards : dict of str to tuple of ShardEntry
        The shards of each split, in order.
    content : dict
        All of `index.json`; `patch_config` holds the settings that the patches were cut with.
    """

    folder: Path
    patch_size: int
    shards: dict[str, tuple[ShardEntry, ...]]
    content: dict[str, Any]

    def count(self, split: str) -> int:
        """Number of patch pairs of a split."""
        return sum(entry.patches for entry in self.shards[split])

    def thumbnails(self, split: str) -> int:
        """Number of photo pairs of a split with a thumbnail of the whole phone photo."""
        return int(self.content["splits"][split].get("thumbnails", 0))  # format 1 has none

    def fingerprint(self) -> str:
        """A short hash of all patches, wherever the folder is moved to."""
        files = [[entry.file, entry.sha256] for split in SPLITS for entry in self.shards[split]]
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]


def read_index(folder: str | Path) -> ShardIndex:
    """Read and check `index.json`.

    Raises
    ------
    DpedkitError
        If the folder is missing, empty, not a shards folder, not finished, or of another format
        version, or if the index is damaged.
    """
    folder = Path(folder)
    path = folder / INDEX_FILE
    if folder.is_file():
        raise DpedkitError(f"{folder} is a file; give the folder of the shards.")
    if not folder.is_dir():
        raise DpedkitError(f"{folder}: there is no such folder; make it with `dpedkit patches`.")
    if not path.is_file():
        state = f"has no {INDEX_FILE}" if any(folder.iterdir()) else "is empty"
        raise DpedkitError(
            f"{folder} {state}, so it is not a shards folder; make one with `dpedkit patches`."
        )
    content = read_json(path)
    if content.get("kind") != KIND:
        raise DpedkitError(f"{folder} holds '{content.get('kind')}' data, not shards.")
    if content.get("format") not in READABLE_SHARDS:
        raise DpedkitError(
            f"{path} has format {content.get('format')}, but this dpedkit reads formats "
            f"{', '.join(map(str, READABLE_SHARDS))}; cut the shards again with `dpedkit patches`."
        )
    if not content.get("complete"):
        raise DpedkitError(
            f"{folder} is not finished: the command that makes it was stopped. Run the same "
            "command again; it continues where it stopped."
        )
    try:
        splits, settings = content["splits"], content["patch_config"]
        if not {"min_corr", "correlate", "size"} <= settings.keys():
            raise ValueError("it does not say how the patches were cut")
        if type(settings["min_corr"]) not in (int, float):
            raise ValueError("its min_corr is not a number")
        shards = {split: tuple(map(_entry, splits[split]["shards"])) for split in SPLITS}
        if any(type(splits[split].get("thumbnails", 0)) is not int for split in SPLITS):
            raise ValueError("its number of thumbnails is not a number")
        return ShardIndex(folder, int(content["patch_size"]), shards, content)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DpedkitError(f"{path} is damaged: {error}.") from None


def split_counts(folder: str | Path) -> dict[str, int]:
    """Number of patch pairs in each split: `{"train": 1200, "val": 80, "test": 150}`."""
    index = read_index(folder)
    return {split: index.count(split) for split in SPLITS}


def fingerprint(folder: str | Path) -> str:
    """A short hash of all patches of a shards folder, wherever it is moved to."""
    return read_index(folder).fingerprint()


def read_pairs(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of `pairs.jsonl`; the field `pair` of a shard counts them from 0."""
    path = Path(folder) / PAIRS_FILE
    pairs = read_jsonl(path)
    if any(not isinstance(pair.get("name"), str) for pair in pairs):
        raise DpedkitError(f"{path} is damaged: a pair has no name.")
    return pairs


def pair_names(folder: str | Path) -> list[str]:
    """Names of the photo pairs; the field `pair` of a shard is an index into this list."""
    return [pair["name"] for pair in read_pairs(folder)]


def shard_name(split: str, number: int) -> str:
    """File name of a split's shard, numbered from 0."""
    return f"{split}-{number:05d}.h5"


def _entry(values: dict[str, Any]) -> ShardEntry:
    entry = ShardEntry(str(values["file"]), int(values["patches"]), str(values["sha256"]))
    if not _SHARD_NAME.fullmatch(entry.file) or entry.patches < 0:
        # A name with a path in it would reach outside the folder.
        raise ValueError(f"'{entry.file}' with {entry.patches} patches is not a valid shard")
    return entry
