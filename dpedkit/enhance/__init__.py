"""Full-size photos through a trained network: exact, in bounded memory, metadata kept."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "EnhanceConfig": "dpedkit.enhance.config",
    "EnhanceSummary": "dpedkit.enhance.driver",
    "enhance_photos": "dpedkit.enhance.driver",
    "enhance_photo": "dpedkit.enhance.network",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
