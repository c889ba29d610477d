"""A few representative patches of a split, chosen without randomness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread_indices(count: int, wanted: int) -> NDArray[np.int64]:
    """At most `wanted` patch numbers spread evenly over range(count), always the same: (n,)."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))
