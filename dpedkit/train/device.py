"""Where a run computes."""

from __future__ import annotations

import torch

from dpedkit.errors import UsageError


def choose_device(wanted: str) -> torch.device:
    """The device of a `device` setting.

    Raises
    ------
    UsageError
        If it is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[wanted]:
        raise UsageError(f"device is '{wanted}', but torch finds none here; leave it at 'auto'.")
    return torch.device(wanted)
