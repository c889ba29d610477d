"""Full-size photos through a trained network: exact, in bounded memory, metadata kept."""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "EnhanceConfig": ".config",
    "EnhanceSummary": ".driver",
    "enhance_photos": ".driver",
    "enhance_photo": ".network",
    "Placement": ".storage",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
