"""Write shards: complete or absent, and the same bytes for the same patches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from dpedkit.core.atomic import complete_or_absent
from dpedkit.shards.compressed import create_compressed, write_patch
from dpedkit.shards.finished import FinishedShards
from dpedkit.shards.format import (
    FIELDS,
    IMAGE_FIELDS,
    PATCHES_PER_SHARD,
    SHARD_FORMAT,
    Columns,
    Field,
)
from dpedkit.shards.index import ShardEntry, shard_name
from dpedkit.shards.layout import inspect_shard
from dpedkit.shards.thumbnails import Thumbnails, write_thumbnails


@dataclass(frozen=True)
class Source:
    """Consecutive patches of a split that are loaded when their turn comes.

    Attributes
    ----------
    count : int
        Number of patches.
    load : callable
        Returns them; called once for each shard that they go into.
    release : callable
        Called when all of them are in finished shards.
    thumbnails : mapping of int to callable
        What loads the thumbnails of their photo pairs, by the number of the pair.
    """

    count: int
    load: Callable[[], Columns]
    release: Callable[[], None] = lambda: None
    thumbnails: Thumbnails = field(default_factory=dict)


def write_split(
    folder: Path,
    split: str,
    sources: Sequence[Source],
    patch_size: int,
    config: Mapping[str, Any],
    *,
    compress: bool = False,
) -> list[ShardEntry]:
    """Write the shards of one split, `PATCHES_PER_SHARD` patches each, the last one shorter.

    A shard that is there already as it was written is kept: with the same sources it is the same.
    One source at a time is in memory. What tells that a shard is as it was written stays in the
    folder until `finished.remove_work`.

    Returns
    -------
    list of ShardEntry
        The shards in order, for `finish_shards`.

    Raises
    ------
    DpedkitError
        If the disk is full or the folder may not be written to.
    """
    ends = list(accumulate(source.count for source in sources))
    total = ends[-1] if ends else 0
    entries = []
    finished = FinishedShards(folder)
    released = 0
    thumbnails = {pair: load for source in sources for pair, load in source.thumbnails.items()}
    for number, start in enumerate(range(0, total, PATCHES_PER_SHARD)):
        stop = min(start + PATCHES_PER_SHARD, total)
        path = folder / shard_name(split, number)
        checksum = finished.checksum(path)
        if checksum is None:
            blocks = _blocks(sources, ends, start, stop)
            write_shard(
                path,
                blocks,
                stop - start,
                patch_size,
                config,
                compress=compress,
                thumbnails=thumbnails,
            )
            checksum = finished.add(path)
        entries.append(ShardEntry(path.name, stop - start, checksum))
        while released < len(sources) and ends[released] <= stop:
            sources[released].release()
            released += 1
    return entries


def _blocks(
    sources: Sequence[Source], ends: Sequence[int], start: int, stop: int
) -> Iterator[Columns]:
    """The patches `start` to `stop` of all sources, source by source."""
    for source, end in zip(sources, ends, strict=True):
        begin = end - source.count
        first, last = max(start, begin), min(stop, end)
        if first < last:
            block = source.load()
            yield {name: values[first - begin : last - begin] for name, values in block.items()}


def write_shard(
    path: Path,
    blocks: Iterable[Columns],
    count: int,
    patch_size: int,
    config: Mapping[str, Any],
    *,
    compress: bool = False,
    thumbnails: Thumbnails | None = None,
) -> None:
    """Write one shard from blocks of patches, of which one at a time is in memory.

    Parameters
    ----------
    path : Path
        The file; it appears only when it is whole.
    blocks : iterable of Columns
        Consecutive patches, all fields of `format.FIELDS` in each block.
    count : int
        Number of patches in all blocks together.
    patch_size : int
        Side of a patch in px.
    config : mapping
        The settings that the patches were made with, kept in the file as JSON.
    compress : bool
        Pack each patch and each thumbnail by gzip.
    thumbnails : mapping of int to callable, optional
        What loads the thumbnails, by the number of the photo pair; those of pairs without a patch
        in the blocks are not needed.

    Raises
    ------
    DpedkitError
        If the disk is full or the folder may not be written to.
    """
    import h5py

    with complete_or_absent(path) as part, h5py.File(part, "w", libver="earliest") as file:
        file.attrs["format"] = np.int64(SHARD_FORMAT)
        file.attrs["patch_size"] = np.int64(patch_size)
        file.attrs["config"] = json.dumps(dict(config))
        packed = IMAGE_FIELDS if compress else ()
        datasets = {
            field.name: _create(file, field, field.shape(count, patch_size), field.name in packed)
            for field in FIELDS
        }
        start = 0
        pairs: set[int] = set()
        for block in blocks:
            stop = start + len(block["ncc"])
            for name in (field.name for field in FIELDS if field.name not in packed):
                datasets[name][start:stop] = block[name]
            for row in range(start, stop):  # chunks lie in the file in the order of writing
                for name in packed:
                    write_patch(datasets[name], row, block[name][row - start])
            pairs.update(block["pair"].tolist())
            start = stop
        assert start == count, f"{start} patches in the blocks, {count} announced"
        own = {pair: load for pair, load in (thumbnails or {}).items() if pair in pairs}
        write_thumbnails(file, own, compress=compress)


def _create(file: Any, field: Field, shape: tuple[int, ...], packed: bool) -> Any:
    if packed:
        return create_compressed(file, field.name, shape)
    # A time stamp would make equal shards differ.
    return file.create_dataset(field.name, shape=shape, dtype=field.dtype, track_times=False)


def read_shard(path: Path) -> Columns:
    """All fields of a shard, mapped into memory where they are not compressed.

    Raises
    ------
    DpedkitError
        If the file is missing or no valid shard.
    """
    return inspect_shard(path).columns()
