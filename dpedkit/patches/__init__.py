"""Cut matching patch pairs out of aligned photos: windows matched, judged, kept with provenance.

>>> from dpedkit.patches import PatchConfig, match_windows        # doctest: +SKIP
>>> patches = match_windows(phone, dslr, PatchConfig())           # doctest: +SKIP
>>> patches.phone.shape, patches.dropped                          # doctest: +SKIP
((31, 100, 100, 3), {'low NCC': 6, 'mismatch': 3})
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "PatchConfig": "config",
    "Patches": "matching",
    "match_windows": "matching",
    "PatchSummary": "summary",
    "cut_patches": "driver",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
