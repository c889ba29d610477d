"""Damage of every kind, chosen by a seed: the same number is the same mutant."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

Random = np.random.Generator
HOSTILE = (
    None, True, -1, 0, 3.5, 10**400, 1e308, "", "../../etc/passwd", "x" * 200_000, "\udce9", [], {},
    [[[]]], {"a": {"b": None}}, float("nan"), float("inf"),
)  # fmt: skip


def _hole(content: bytes, random: Random) -> bytes:
    """A tenth to nine tenths are missing somewhere."""
    length = int(len(content) * random.uniform(0.1, 0.9))
    start = int(random.integers(0, max(1, len(content) - length)))
    return content[:start] + content[start + length :]


def _zeros(content: bytes, random: Random) -> bytes:
    length = int(len(content) * random.uniform(0.1, 0.6))
    start = int(random.integers(0, max(1, len(content) - length)))
    return content[:start] + bytes(length) + content[start + length :]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: int(len(content) * random.uniform(0, 0.9))]


def _early_end(content: bytes, random: Random) -> bytes:
    return _cut(content, random) + b"\xff\xd9"


def _flips(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for place in random.integers(0, max(1, len(content)), int(random.integers(1, 20))):
        if changed:
            changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _large_numbers(content: bytes, random: Random) -> bytes:
    """Bytes that are sizes or offsets somewhere become the largest."""
    changed = bytearray(content)
    start = int(random.integers(0, max(1, min(len(content), 4096))))
    changed[start : start + 4] = b"\xff" * len(changed[start : start + 4])
    return bytes(changed)


def _repeat(content: bytes, random: Random) -> bytes:
    start = int(random.integers(0, max(1, len(content))))
    return (
        content[:start]
        + content[start : start + 4000] * int(random.integers(2, 50))
        + content[start:]
    )


# Of the first four, a tenth or more of the file is missing.
MISSING: tuple[Callable[[bytes, Random], bytes], ...] = (_hole, _zeros, _cut, _early_end)
ZEROED = _zeros
BYTES = (*MISSING, _flips, _flips, _large_numbers, _repeat)


def mutate_bytes(content: bytes, seed: int, *, zeros_show: bool = True) -> tuple[bytes, bool]:
    """A mutant, and whether a tenth of the content or more is missing from it.

    With `zeros_show` False, zeros in place of the content do not count as missing.
    """
    random = np.random.default_rng(seed)
    kind = BYTES[int(random.integers(len(BYTES)))]
    missing = kind in MISSING and (zeros_show or kind is not ZEROED)
    return kind(content, random), missing


def mutate_json(text: str, seed: int) -> str:
    """JSON in which one value or key is another, or which is damaged as bytes are."""
    random = np.random.default_rng(seed)
    if random.random() < 0.3:
        return mutate_bytes(text.encode(), seed)[0].decode("utf-8", errors="surrogateescape")
    if random.random() < 0.1:
        return "[" * 100_000
    content = json.loads(text)
    places = list(_places(content))
    parent, key = places[int(random.integers(len(places)))]
    if isinstance(parent, dict) and random.random() < 0.3:
        del parent[key]
    else:
        parent[key] = HOSTILE[int(random.integers(len(HOSTILE)))]
    return json.dumps(content)


def _places(content: object) -> list[tuple[object, object]]:
    """All places of a JSON value that can be changed: containers with a key or a number."""
    keys = content.keys() if isinstance(content, dict) else range(len(content))  # type: ignore[arg-type]
    found: list[tuple[object, object]] = []
    for key in keys:
        found.append((content, key))
        value = content[key]  # type: ignore[index]
        if isinstance(value, dict | list):
            found += _places(value)
    return found
