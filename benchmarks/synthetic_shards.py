"""A shards folder of arrays: what the benchmarks of reading and of training read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.atomic import write_json
from dpedkit.core.manifest import write_jsonl
from dpedkit.shards.finishing import describe_splits
from dpedkit.shards.format import SHARD_FORMAT, SPLITS, Columns
from dpedkit.shards.index import INDEX_FILE, KIND, PAIRS_FILE
from dpedkit.shards.thumbnails import Thumbnail
from dpedkit.shards.writer import Source, write_split

Patches = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # phone and DSLR, (N, S, S, 3) each


@dataclass(frozen=True)
class Origins:
    """Where patch pairs are from.

    Attributes
    ----------
    pair : (N,) int32
        Numbers of the photo pairs.
    xy : (N, 2) int32
        Corners in the aligned photos.
    thumbnails : mapping of int to Thumbnail
        Of the photo pairs, by their numbers; empty where there are none.
    """

    pair: NDArray[np.int32]
    xy: NDArray[np.int32]
    thumbnails: Mapping[int, Thumbnail]


def write_shards(
    folder: Path,
    splits: Mapping[str, Patches],
    origins: Mapping[str, Origins] | None = None,
    lines: Sequence[dict[str, Any]] | None = None,
) -> Path:
    """Write the patch pairs of each split.

    Without `origins`, they are all as if from one pair of photos. With them, `lines` are those of
    `pairs.jsonl`.
    """
    folder.mkdir(parents=True)
    size = next(iter(splits.values()))[0].shape[1]
    entries = {}
    for split in SPLITS:
        origin = None if origins is None else origins.get(split)
        sources = [_source(splits[split], origin)] if split in splits else []
        entries[split] = write_split(folder, split, sources, size, {})
    tried = sum(len(phone) for phone, _ in splits.values())
    pair = {"name": "synthetic", "split": "train", "dslr": "", "tried": tried, "kept": tried}
    lines = lines or [{**pair, "dropped": {}}]
    write_jsonl(folder / PAIRS_FILE, lines)
    index = {
        "format": SHARD_FORMAT,
        "kind": KIND,
        "tool_version": "",
        "complete": True,
        "patch_size": size,
        "patch_config": {"min_corr": 0.9, "size": size, "correlate": "luma"},
        "splits": describe_splits(entries, [] if origins is None else lines),
    }
    write_json(folder / INDEX_FILE, index)
    return folder


def _source(patches: Patches, origins: Origins | None) -> Source:
    phone, dslr = patches
    count = len(phone)
    columns: Columns = {
        "phone": phone,
        "dslr": dslr,
        "ncc": np.ones(count, np.float32),
        "xy": np.zeros((count, 2), np.int32),
        "shift": np.zeros((count, 2), np.float32),
        "angle": np.zeros(count, np.float32),
        "shift_error": np.zeros(count, np.float32),
        "pair": np.zeros(count, np.int32),
    }
    if origins is None:
        return Source(count, lambda: columns)
    columns |= {"pair": origins.pair, "xy": origins.xy}
    load = {pair: partial(_itself, one) for pair, one in origins.thumbnails.items()}
    return Source(count, lambda: columns, thumbnails=load)


def _itself(thumbnail: Thumbnail) -> Thumbnail:
    return thumbnail
