"""Cut matching patch pairs from aligned photos and record where each comes from.

>>> from dpedkit.patches import PatchConfig, match_windows        # doctest: +SKIP
>>> patches = match_windows(phone, dslr, PatchConfig())           # doctest: +SKIP
>>> patches.phone.shape, patches.dropped                          # doctest: +SKIP
((31, 100, 100, 3), {'low NCC': 6, 'mismatch': 3})
"""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "PatchConfig": ".config",
    "Patches": ".matching",
    "match_windows": ".matching",
    "PatchSummary": ".summary",
    "cut_patches": ".driver",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
