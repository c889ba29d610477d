"""Windows kept and dropped: counted for each photo pair, and added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NCC_EDGES = np.linspace(-1, 1, 41)
SHIFT_EDGES = np.linspace(0, 8, 161)  # px


def histogram(values: NDArray[Any], edges: NDArray[np.float64]) -> list[int]:
    """Counts between the edges; what lies beyond counts as the last bin, NaN not at all."""
    inside = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
    return [int(count) for count in np.histogram(inside, edges)[0]]


def window_totals(pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Windows of all pairs together, from the lines of `pairs.jsonl`.

    Returns
    -------
    dict
        `tried` and `kept` (int), `dropped` (int by reason, the most frequent first), `ncc` (of
        all windows) and `shift` (as measured in those whose content can tell it, px) as histograms
        with `edges` and `counts`.
    """
    dropped: Counter[str] = Counter()
    for pair in pairs:
        dropped.update(pair["dropped"])
    return {
        "tried": sum(pair["tried"] for pair in pairs),
        "kept": sum(pair["kept"] for pair in pairs),
        "dropped": dict(dropped.most_common()),
        "ncc": _added(pairs, "ncc_histogram", NCC_EDGES),
        "shift": _added(pairs, "shift_histogram", SHIFT_EDGES),
    }


def _added(
    pairs: Sequence[dict[str, Any]], name: str, edges: NDArray[np.float64]
) -> dict[str, list[Any]]:
    counts = np.zeros(len(edges) - 1, np.int64)
    for pair in pairs:
        own = pair.get(name, [])
        # Shards of an earlier version counted something else, in other bins.
        if len(own) == len(counts):
            counts += own
    return {"edges": [round(float(edge), 6) for edge in edges], "counts": counts.tolist()}
