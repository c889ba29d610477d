"""The networks: generators, the discriminator, and the files that hold a generator.

    generator = build_generator("resnet-12-64", norm="batch")
    save_model(path, generator, card)
    generator = load_model(path)
    enhanced = generator(photos)        # (N, 3, H, W) float32 in [0, 1] -> the same

Nothing here imports torch until a name is used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "build_generator": "dpedkit.models.build",
    "GENERATORS": "dpedkit.models.build",
    "Discriminator": "dpedkit.models.discriminator",
    "load_model": "dpedkit.models.files",
    "save_model": "dpedkit.models.files",
    "find_model": "dpedkit.models.files",
    "read_card": "dpedkit.models.files",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
