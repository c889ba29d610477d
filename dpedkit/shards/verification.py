"""Read every byte of a shards folder and report what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dpedkit.core.console import progress
from dpedkit.core.errors import DpedkitError
from dpedkit.core.parallel import ordered_map
from dpedkit.core.wording import counted
from dpedkit.shards.correlation import CHANNELS, LUMA, patch_ncc
from dpedkit.shards.finished import file_sha256
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import PAIRS_FILE, ShardEntry, ShardIndex, read_index, read_pairs
from dpedkit.shards.layout import ShardLayout
from dpedkit.shards.reader import checked_layout

_NCC_SAMPLE = 64  # patches a shard whose NCC is computed again
_NCC_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes
    ----------
    folder : str
    patches, shards : int
        What was read.
    problems : tuple of str
        One sentence each, naming the file; empty if nothing is wrong.
    """

    folder: str
    patches: int
    shards: int
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON-ready values."""
        return {**asdict(self), "problems": list(self.problems), "sound": self.sound}

    def as_text(self) -> str:
        """The findings for people."""
        if self.sound:
            return (
                f"{self.folder}: {counted(self.patches, 'patch pair')} in "
                f"{counted(self.shards, 'shard')}, all intact."
            )
        return "\n".join([f"{self.folder} is damaged:", *(f"- {line}" for line in self.problems)])


def verify(folder: str | Path, *, jobs: int = 1) -> Verification:
    """Check every shard: SHA-256, layout, ranges, duplicates, thumbnails, and the NCC of a sample.

    Also check that no photo pair is in two splits, that `pairs.jsonl` is right about thumbnails,
    and that no unlisted shard is in the folder.

    Parameters
    ----------
    folder : str or Path
    jobs : int
        Worker processes; 0 for every core.

    Raises
    ------
    DpedkitError
        If the folder's index cannot be read at all.
    """
    index = read_index(folder)
    pairs = read_pairs(folder)
    entries = [(split, entry) for split in SPLITS for entry in index.shards[split]]
    by_channel = index.content["patch_config"]["correlate"] == "channels"
    problems: list[str] = []
    splits_of_pair: dict[int, set[str]] = {}
    shown: set[int] = set()
    look = partial(_look, index, len(pairs), by_channel)
    with progress("verify", len(entries), "shards") as bar:
        found_in = ordered_map(look, [entry for _, entry in entries], jobs, lost=_lost)
        for (split, _), found in zip(entries, found_in, strict=True):
            problems += found.problems
            shown.update(found.thumbnails)
            for pair in found.pairs:
                splits_of_pair.setdefault(pair, set()).add(split)
            bar.advance()
    for pair, splits in sorted(splits_of_pair.items()):
        line = pairs[pair] if 0 <= pair < len(pairs) else {}
        if splits != {line.get("split")}:
            problems.append(
                f"{index.folder / PAIRS_FILE}: pair {pair} has patches in "
                f"{' and '.join(sorted(splits))}, but its split is {line.get('split')}."
            )
        if line.get("thumbnail", False) != (pair in shown):
            has = "has a" if pair in shown else "has no"
            problems.append(
                f"{index.folder / PAIRS_FILE}: pair {pair} {has} thumbnail in the shards, but its "
                "line says otherwise."
            )
    listed = {entry.file for _, entry in entries}
    problems += [
        f"{path} is not in the index."
        for path in sorted(index.folder.glob("*.h5"))
        if path.name not in listed
    ]
    patches = sum(entry.patches for _, entry in entries)
    return Verification(str(folder), patches, len(entries), tuple(problems))


@dataclass
class _Findings:
    """What is wrong with a shard, and the photo pairs of its patches and of its thumbnails."""

    problems: list[str] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)
    thumbnails: list[int] = field(default_factory=list)


def _look(index: ShardIndex, pair_count: int, by_channel: bool, entry: ShardEntry) -> _Findings:
    found = _Findings()
    try:
        layout = _intact(index, entry)
        found.pairs = np.unique(layout.map("pair")).tolist()
        if layout.thumbnails is not None:
            found.thumbnails = layout.thumbnails.pairs.tolist()
        for text in (*_faults(layout, pair_count, by_channel), *_thumbnail_faults(layout)):
            found.problems.append(f"{layout.path}: {text}")
    except DpedkitError as error:
        found.problems.append(str(error))
    return found


def _lost(entry: ShardEntry, cause: str) -> _Findings:
    return _Findings([f"{entry.file} could not be checked: {cause}."])


def _intact(index: ShardIndex, entry: ShardEntry) -> ShardLayout:
    """The shard's layout; DpedkitError if it is not exactly the file that the index lists."""
    layout = checked_layout(index, entry)
    if file_sha256(layout.path) != entry.sha256:
        raise DpedkitError(
            f"{layout.path} is damaged: its SHA-256 does not match the index. Copy it again from "
            "where the shards were made."
        )
    return layout


def _faults(layout: ShardLayout, pair_count: int, by_channel: bool) -> Iterator[str]:
    """What the values of a shard's fields get wrong, one sentence each.

    Raises
    ------
    DpedkitError
        If a compressed patch cannot be unpacked.
    """
    ncc, pair, xy = layout.map("ncc"), layout.map("pair"), layout.map("xy")
    for name in ("ncc", "shift", "angle"):
        if not np.isfinite(layout.map(name)).all():
            yield f"'{name}' holds values that are not finite."
    if (np.abs(ncc) > 1 + 1e-6).any():
        yield "'ncc' holds values beyond 1."
    if (pair < 0).any() or (pair >= pair_count).any():
        yield f"'pair' names photo pairs that are not in {PAIRS_FILE}."
    if (xy < 0).any():
        yield "'xy' holds negative corners."
    places = np.column_stack([pair, xy])
    if len(np.unique(places, axis=0)) < len(places):
        yield "it holds the same window twice."
    for patches in layout.compressed.values():
        for row in range(layout.count):
            patches[row]  # raises where it is damaged
    sample = np.linspace(0, layout.count - 1, min(_NCC_SAMPLE, layout.count)).astype(int)
    phone, dslr = layout.read("phone", sample), layout.read("dslr", sample)
    weights = CHANNELS if by_channel else LUMA
    found = [patch_ncc(a, b, weights) for a, b in zip(phone, dslr, strict=True)]
    wrong = np.abs(np.array(found) - ncc[sample]) > _NCC_TOLERANCE
    if wrong.any():
        yield (
            f"the recorded NCC of {wrong.sum()} of {counted(len(sample), 'patch', 'patches')} does "
            "not match the pixels."
        )


def _thumbnail_faults(layout: ShardLayout) -> Iterator[str]:
    """What is wrong with the thumbnails of a shard beyond what `inspect_shard` refuses.

    Raises
    ------
    DpedkitError
        If a compressed one cannot be unpacked.
    """
    stored = layout.thumbnails
    if stored is None:
        return
    if not np.isin(stored.pairs, layout.map("pair")).all():
        yield "it holds thumbnails of photo pairs of which it has no patches."
    for row, (width, height) in enumerate(stored.sizes.tolist()):
        padded = stored.padded(row)
        if padded[height:].any() or padded[:, width:].any():
            yield f"the thumbnail of pair {stored.pairs[row]} does not end where its size says."
