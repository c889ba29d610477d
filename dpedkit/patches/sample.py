"""A sample of the dropped windows, for the report."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from dpedkit.patches.matching import DROP_REASONS, Patches

_EACH = 3  # windows per reason and photo pair


def sample_dropped(patches: Patches, name: str, seed: int) -> list[dict[str, Any]]:
    """Up to three randomly chosen dropped windows for each reason.

    Parameters
    ----------
    patches : Patches
    name : str
        Of the photo pair; together with `seed` it determines the choice.
    seed : int

    Returns
    -------
    list of dict
        JSON-ready: `reason`, corner `xy` in the aligned photos in px, and `ncc`, None if it was
        not computed. Sorted by reason in the order of `DROP_REASONS`, then from the top left.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    fates = np.array(patches.window_fate)
    sample = []
    for reason in DROP_REASONS:
        windows = np.flatnonzero(fates == reason)
        for n in np.sort(random.permutation(windows)[:_EACH]):
            ncc = float(patches.window_ncc[n])
            sample.append(
                {
                    "reason": reason,
                    "xy": patches.window_xy[n].tolist(),
                    "ncc": None if np.isnan(ncc) else round(ncc, 4),
                }
            )
    return sample
