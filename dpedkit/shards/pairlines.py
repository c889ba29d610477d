"""The lines of a shards folder's `pairs.jsonl` with all that new folders are made from, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import counted
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import PAIRS_FILE, ShardIndex, read_pairs
from dpedkit.shards.layout import ShardLayout


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_count, values))


_REQUIRED: dict[str, Callable[[Any], bool]] = {
    "dslr": lambda value: isinstance(value, str),
    "split": lambda value: value is None or value in SPLITS,
    "tried": _is_count,
    "kept": _is_count,
    "dropped": lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
}
_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "error": lambda value: isinstance(value, str),
    "thumbnail": lambda value: isinstance(value, bool),
    "phone_id": lambda value: isinstance(value, str),
    "phone_size": lambda value: _are_counts(value) and len(value) == 2,
    "cameras": lambda value: (
        isinstance(value, list) and len(value) == 2 and all(isinstance(name, str) for name in value)
    ),
    "ncc_histogram": _are_counts,
    "shift_histogram": _are_counts,
}


def read_complete_pairs(index: ShardIndex) -> list[dict[str, Any]]:
    """The lines of `pairs.jsonl`, as many as the index says.

    Raises
    ------
    DpedkitError
        If a line lacks a field, or holds an impossible value.
    """
    path = index.folder / PAIRS_FILE
    pairs = read_pairs(index.folder)
    promised = index.content.get("pairs", len(pairs))
    if promised != len(pairs):
        raise DpedkitError(
            f"{path} has {counted(len(pairs), 'line')}, but the index says {promised}; copy the "
            "shards again from where they were made."
        )
    for number, pair in enumerate(pairs, start=1):
        for name, is_right in (_REQUIRED | _OPTIONAL).items():
            missing = name not in pair
            if missing and name in _OPTIONAL:
                continue
            if missing or not _holds(is_right, pair[name]):
                what = "is missing" if missing else "has an impossible value"
                raise DpedkitError(
                    f"{path}, line {number} is damaged: '{name}' {what}; copy the shards again "
                    "from where they were made."
                )
    return pairs


def refuse_unknown_pairs(layout: ShardLayout, pairs: int) -> None:
    """Raise DpedkitError if a patch of a shard says that it is from a pair that is not listed."""
    numbers = layout.map("pair")
    if layout.count and not (numbers.min() >= 0 and numbers.max() < pairs):
        raise DpedkitError(
            f"{layout.path} names photo pairs that are not in {PAIRS_FILE}; copy the shards again "
            "from where they were made."
        )


def _holds(is_right: Callable[[Any], bool], value: Any) -> bool:
    try:
        return is_right(value)
    except TypeError:  # a list where a name belongs cannot be looked up
        return False
