"""A shards folder of arrays: what the benchmarks of reading and of training read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.atomic import write_json
from dpedkit.core.manifest import write_jsonl
from dpedkit.shards.finishing import describe_splits
from dpedkit.shards.format import SHARD_FORMAT, SPLITS, Columns
from dpedkit.shards.index import INDEX_FILE, KIND, PAIRS_FILE
from dpedkit.shards.writer import Source, write_split

Patches = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # phone and DSLR, (N, S, S, 3) each


def write_shards(folder: Path, splits: Mapping[str, Patches]) -> Path:
    """Write the patch pairs of each split, all as if from one pair of photos."""
    folder.mkdir(parents=True)
    size = next(iter(splits.values()))[0].shape[1]
    entries = {}
    for split in SPLITS:
        sources = [_source(splits[split])] if split in splits else []
        entries[split] = write_split(folder, split, sources, size, {})
    tried = sum(len(phone) for phone, _ in splits.values())
    pair = {"name": "synthetic", "split": "train", "dslr": "", "tried": tried, "kept": tried}
    write_jsonl(folder / PAIRS_FILE, [{**pair, "dropped": {}}])
    index = {
        "format": SHARD_FORMAT,
        "kind": KIND,
        "tool_version": "",
        "complete": True,
        "patch_size": size,
        "patch_config": {"min_corr": 0.9, "size": size, "correlate": "luma"},
        "splits": describe_splits(entries, []),
    }
    write_json(folder / INDEX_FILE, index)
    return folder


def _source(patches: Patches) -> Source:
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
    return Source(count, lambda: columns)
