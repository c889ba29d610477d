"""From folders of phone and DSLR photos of the same scenes to a trained enhancement network.

The stages as functions::

    alignment = dpedkit.align_pair(phone, dslr)          # two (H, W, 3) uint8 RGB photos
    patches = dpedkit.match_windows(alignment.phone, alignment.dslr)
    dpedkit.train("shards", dpedkit.TrainConfig(steps=1000))
    dpedkit.evaluate("runs/001", "shards")
    dpedkit.enhance("runs/001", "photo.jpg", "enhanced")
    network = dpedkit.load_model("runs/001")             # a torch.nn.Module

Names are imported when first used, so that `import dpedkit` does not load OpenCV or PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpedkit._version import __version__
from dpedkit.core.errors import (
    DpedkitError,
    FolderInUseError,
    OutputExistsError,
    PhotoError,
    TooManyRejectedError,
    UsageError,
)
from dpedkit.core.lazy import lazy_exports

if TYPE_CHECKING:  # what the type checker of a program sees of the names below
    from dpedkit.align.config import AlignConfig
    from dpedkit.align.pair import Alignment, align_pair
    from dpedkit.enhancement.config import EnhanceConfig
    from dpedkit.evaluation.config import EvaluateConfig
    from dpedkit.geometry import PairMap
    from dpedkit.images.reading import read_photo
    from dpedkit.models.build import build_generator
    from dpedkit.models.files import load_model
    from dpedkit.patches.config import PatchConfig
    from dpedkit.patches.matching import Patches, match_windows
    from dpedkit.shards.dataset import DpedShards
    from dpedkit.shards.reader import open_split
    from dpedkit.stages import enhance, evaluate, train
    from dpedkit.training.config import TrainConfig

_HOME = {
    "AlignConfig": ".align.config",
    "Alignment": ".align.pair",
    "DpedShards": ".shards.dataset",
    "EnhanceConfig": ".enhancement.config",
    "EvaluateConfig": ".evaluation.config",
    "PairMap": ".geometry",
    "PatchConfig": ".patches.config",
    "Patches": ".patches.matching",
    "TrainConfig": ".training.config",
    "align_pair": ".align.pair",
    "build_generator": ".models.build",
    "enhance": ".stages",
    "evaluate": ".stages",
    "load_model": ".models.files",
    "match_windows": ".patches.matching",
    "open_split": ".shards.reader",
    "read_photo": ".images.reading",
    "train": ".stages",
}

__all__ = [
    "AlignConfig",
    "Alignment",
    "DpedShards",
    "DpedkitError",
    "EnhanceConfig",
    "EvaluateConfig",
    "FolderInUseError",
    "OutputExistsError",
    "PairMap",
    "PatchConfig",
    "Patches",
    "PhotoError",
    "TooManyRejectedError",
    "TrainConfig",
    "UsageError",
    "__version__",
    "align_pair",
    "build_generator",
    "enhance",
    "evaluate",
    "load_model",
    "match_windows",
    "open_split",
    "read_photo",
    "train",
]
__getattr__ = lazy_exports(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
