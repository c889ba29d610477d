"""Shards folders made from arrays, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from dpedkit.core.atomic import write_json
from dpedkit.core.manifest import read_json, write_jsonl
from dpedkit.shards.finished import file_sha256, remove_work
from dpedkit.shards.finishing import describe_splits
from dpedkit.shards.format import SHARD_FORMAT, SPLITS
from dpedkit.shards.index import INDEX_FILE, KIND, PAIRS_FILE
from dpedkit.shards.thumbnails import Thumbnail
from dpedkit.shards.writer import Source, write_split

Patches = tuple[np.ndarray, np.ndarray, np.ndarray]


def write_shards(
    folder: Path,
    splits: Mapping[str, Patches],
    thumbnails: Mapping[int, Thumbnail] | None = None,
    *,
    compress: bool = False,
) -> Path:
    """Write `{split: (phone (N,S,S,3), dslr (N,S,S,3), pair (N,))}` as a shards folder.

    `thumbnails` are those of the photo pairs by their numbers.
    """
    folder.mkdir(parents=True)
    size = next(iter(splits.values()))[0].shape[1]
    load = {pair: lambda one=one: one for pair, one in (thumbnails or {}).items()}
    entries = {}
    split_of = {}
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
            sources = [Source(count, lambda columns=columns: columns, thumbnails=load)]
            split_of |= dict.fromkeys(pair.tolist(), split)
        entries[split] = write_split(folder, split, sources, size, {}, compress=compress)
    remove_work(folder)
    lines = [
        {"name": f"{number:03d}", "split": split_of.get(number), "thumbnail": number in load}
        for number in range(1 + max(split_of, default=0))
    ]
    write_jsonl(folder / PAIRS_FILE, lines)
    write_json(
        folder / INDEX_FILE,
        {
            "format": SHARD_FORMAT,
            "kind": KIND,
            "patch_config": {"min_corr": 0.9, "correlate": "luma", "size": size},
            "complete": True,
            "patch_size": size,
            "splits": describe_splits(entries, lines),
        },
    )
    return folder


def as_format_1(folder: Path) -> Path:
    """Turn a shards folder without thumbnails into one of format 1, which differs only in that."""
    index = read_json(folder / INDEX_FILE)
    index["format"] = 1
    for split in index["splits"].values():
        del split["thumbnails"]
        for entry in split["shards"]:
            with h5py.File(folder / entry["file"], "r+") as file:
                file.attrs.modify("format", np.int64(1))
            entry["sha256"] = file_sha256(folder / entry["file"])
    write_json(folder / INDEX_FILE, index)
    return folder


def make_thumbnails(pairs: int, seed: int) -> dict[int, Thumbnail]:
    """Random ones of several sizes, upright and lying, for the photo pairs 0 to `pairs` - 1."""
    rng = np.random.default_rng(seed)
    made = {}
    for pair in range(pairs):
        long, short = 256 if pair % 3 else 90, int(rng.integers(1, 80))
        shape = (short, long, 3) if pair % 2 else (long, short, 3)
        pixels = rng.integers(0, 9, shape, np.uint8) * 20 + 5  # black nowhere
        made[pair] = Thumbnail.of(pixels, (shape[1] * 10, shape[0] * 10), (3, 1, 7, 5))
    return made


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
