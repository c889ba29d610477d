"""From folders of phone and DSLR photos of the same scenes to a trained enhancement network.

The three stages as functions on arrays::

    alignment = dpedkit.align_pair(phone, dslr)          # two (H, W, 3) uint8 RGB photos
    patches = dpedkit.match_windows(phone_crop, dslr_crop)
    network = dpedkit.load_model("model.safetensors")    # a torch.nn.Module

Names are imported when first used, so that `import dpedkit` does not load OpenCV or PyTorch.
"""

from __future__ import annotations

from dpedkit._version import __version__
from dpedkit.core.errors import DpedkitError
from dpedkit.core.lazy import lazy_exports

_HOME = {
    "AlignConfig": ".align.config",
    "align_pair": ".align.pair",
    "read_photo": ".images.reading",
    "PatchConfig": ".patches.config",
    "match_windows": ".patches.matching",
    "open_split": ".shards.reader",
    "DpedShards": ".shards.dataset",
    "TrainConfig": ".train.config",
    "load_model": ".models.files",
}

__all__ = ["DpedkitError", "__version__", *sorted(_HOME)]
__getattr__ = lazy_exports(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
