"""The NCC of finished patches, as the field `ncc` of a shard holds it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import arrays

LUMA = np.array(arrays.LUMA)[:, None]
CHANNELS = np.eye(3)
_FLAT = 1e-9  # keeps patches of one colour, which correlate with nothing, from dividing by zero


def patch_ncc(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], weights: NDArray[Any] = LUMA
) -> float:
    """Normalised cross-correlation of two patches, in [-1, 1]; 0 where one is of one colour.

    Parameters
    ----------
    phone, dslr : (S, S, 3) uint8
    weights : (3, K) array
        Weighted sums of the channels that are correlated: `LUMA`, or `CHANNELS`. Of several the
        smallest correlation counts.
    """
    a, b = (patch.reshape(-1, 3) @ weights for patch in (phone, dslr))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    return float(np.min((a * b).sum(axis=0) / np.maximum(norm, _FLAT)))
