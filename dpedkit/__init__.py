"""From folders of phone and DSLR photos of the same scenes to a trained enhancement network.

The three stages as functions on arrays::

    alignment = dpedkit.align_pair(phone, dslr)          # two (H, W, 3) uint8 RGB photos
    patches = dpedkit.match_windows(phone_crop, dslr_crop)
    network = dpedkit.load_model("model.safetensors")    # a torch.nn.Module

Names are imported when first used, so that `import dpedkit` does not load OpenCV or PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

from dpedkit._version import __version__
from dpedkit.errors import DpedkitError

_HOME = {
    "AlignConfig": "dpedkit.align.config",
    "align_folders": "dpedkit.align.driver",
    "align_pair": "dpedkit.align.pair",
    "PatchConfig": "dpedkit.patches.config",
    "cut_patches": "dpedkit.patches.driver",
    "match_windows": "dpedkit.patches.matching",
    "TrainConfig": "dpedkit.train.config",
    "train": "dpedkit.train.loop",
    "evaluate": "dpedkit.evaluate",
    "enhance_photos": "dpedkit.enhance",
    "load_model": "dpedkit.models",
}

__all__ = ["DpedkitError", "__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dpedkit' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
