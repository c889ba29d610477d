"""Which phone photo belongs to which DSLR photo: by name, order, time, or a list.

    pairing = pair_photos(phone_folder, dslr_folder, PairingConfig(pair_by="time"))
    for name, phone, dslr in pairing.pairs: ...

Missing and uncertain pairs are listed, never guessed.
"""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "ClockOffset": ".clocks",
    "Pairing": ".pairing",
    "PairingConfig": ".config",
    "pair_photos": ".ways",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
