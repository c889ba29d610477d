"""Align phone-DSLR photo pairs pixel by pixel (paper, section II).

>>> from dpedkit.align import align_pair                 # doctest: +SKIP
>>> alignment = align_pair(phone, dslr)                  # doctest: +SKIP
>>> alignment.accepted, alignment.crop                   # doctest: +SKIP
(True, (164, 98, 1720, 1284))
"""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "AlignConfig": ".config",
    "AlignFoldersConfig": ".config",
    "AlignSummary": ".folder",
    "Alignment": ".pair",
    "align_folders": ".folder",
    "align_pair": ".pair",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
