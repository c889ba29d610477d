"""The header of a dataset card: what Hugging Face reads of it.

Hugging Face takes every dataset of an HDF5 file for a column of one table. Patches and thumbnails
are two tables, so where there are thumbnails the header says which columns belong to which.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import numpy as np

from dpedkit.core.hub import licence_lines, quoted
from dpedkit.shards.format import FIELDS, SPLITS, THUMBNAIL_FIELDS, Field
from dpedkit.shards.index import ShardIndex

THUMBNAILS_CONFIG = "thumbnails"
# Hugging Face's names of our splits, and of the sizes of data sets.
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def hub_header(index: ShardIndex, title: str, licence: str) -> str:
    """The YAML block at the top of a card; in YAML, every JSON string is a string."""
    total = sum(index.count(split) for split in SPLITS)
    size = next((name for limit, name in _SIZES if total < limit), "n>10M")
    pictured = [split for split in SPLITS if index.thumbnails(split)]
    lines = [
        "---",
        f"pretty_name: {quoted(title)}",
        *licence_lines(licence),
        "tags:",
        '- "dpedkit"',
        "task_categories:",
        "- image-to-image",
        "size_categories:",
        f"- {quoted(size)}",
        "configs:",
        "- config_name: default",
        "  default: true",
        *_files(split for split in SPLITS if index.count(split)),
    ]
    if pictured:
        lines += [
            f"- config_name: {THUMBNAILS_CONFIG}",
            *_files(pictured),
            "dataset_info:",
            *_columns("default", FIELDS, index.patch_size),
            *_columns(THUMBNAILS_CONFIG, THUMBNAIL_FIELDS, index.patch_size),
        ]
    return "\n".join([*lines, "---", ""])


def _files(splits: Iterable[str]) -> Iterator[str]:
    yield "  data_files:"
    for split in splits:
        yield f"  - split: {_SPLITS[split]}"
        yield f'    path: "{split}-*.h5"'


def _columns(config: str, fields: Iterable[Field], patch_size: int) -> Iterator[str]:
    yield f"- config_name: {config}"
    yield "  features:"
    for field in fields:
        _, *shape = field.shape(0, patch_size)
        kind = np.dtype(field.dtype).name
        yield f"  - name: {field.name}"
        if not shape:
            yield f"    dtype: {kind}"
        elif len(shape) == 1:
            yield f"    list: {kind}"
            yield f"    length: {shape[0]}"
        else:
            yield "    dtype:"
            yield f"      array{len(shape)}_d:"
            yield f"        shape: {json.dumps(shape)}"
            yield f"        dtype: {kind}"
