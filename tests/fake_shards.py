"""Shards folders made from arrays, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dpedkit.core.atomic import write_json
from dpedkit.core.manifest import write_jsonl
from dpedkit.shards.finishing import describe_splits
from dpedkit.shards.format import SHARD_FORMAT, SPLITS
from dpedkit.shards.index import INDEX_FILE, KIND, PAIRS_FILE
from dpedkit.shards.writer import Source, write_split

Patches = tuple[np.ndarray, np.ndarray, np.ndarray]


def write_shards(folder: Path, splits: Mapping[str, Patches]) -> Path:
    """Write `{split: (phone (N,S,S,3), dslr (N,S,S,3), pair (N,))}` as a shards folder."""
    folder.mkdir(parents=True)
    size = next(iter(splits.values()))[0].shape[1]
    entries = {}
    for split in SPLITS:
        sources = []
        if split in splits:
            phone, dslr, pair = splits[split]
            count = len(phone)
            columns = {
                "phone": phone,
                "dslr": dslr,
                "ncc": np.ones(count, np.float32),
                "xy": np.zeros((count, 2), np.int32),
                "shift": np.zeros((count, 2), np.float32),
                "angle": np.zeros(count, np.float32),
                "shift_error": np.zeros(count, np.float32),
                "pair": pair.astype(np.int32),
            }
            sources = [Source(count, lambda columns=columns: columns)]
        entries[split] = write_split(folder, split, sources, size, {})
    pairs = 1 + max(int(pair.max(initial=0)) for _, _, pair in splits.values())
    write_jsonl(folder / PAIRS_FILE, [{"name": f"{number:03d}"} for number in range(pairs)])
    write_json(
        folder / INDEX_FILE,
        {
            "format": SHARD_FORMAT,
            "kind": KIND,
            "patch_config": {"min_corr": 0.9, "correlate": "luma", "size": size},
            "complete": True,
            "patch_size": size,
            "splits": describe_splits(entries, []),
        },
    )
    return folder


def make_patches(count: int, size: int, seed: int) -> Patches:
    """Smooth random pictures, and the same with other colours: what a network can learn."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, size // 4 + 1, size // 4 + 1, 3))
    scene = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :size, :size]
    noise = 0.02 * rng.standard_normal(scene.shape)
    phone = np.clip(0.15 + 0.6 * scene + noise, 0, 1)
    dslr = np.clip(scene**1.3 * [1.0, 0.9, 0.8], 0, 1)
    to_levels = lambda x: (x * 255 + 0.5).astype(np.uint8)  # noqa: E731
    return to_levels(phone), to_levels(dslr), np.arange(count)
