"""Settings of `dpedkit evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpedkit.core.config import Config, option
from dpedkit.shards.config import verify_option


def _split_option() -> Any:
    return option("all", "Split to measure.", choices=("all", "train", "val", "test"))


def _device_option() -> Any:
    return option(
        "auto",
        "Device to compute on: 'auto' uses a GPU if there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        affects_output=False,
    )


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Which patches are measured, and where."""

    split: str = _split_option()
    train_patches: int = option(
        1000,
        "Number of patches of the train split to measure, spread over it; 0 measures all. The "
        "other splits are always measured in full.",
        minimum=0,
    )
    verify: bool = verify_option()
    device: str = _device_option()


@dataclass(frozen=True)
class PhotoEvaluateConfig(Config):
    """Which whole photos are measured, how, and where."""

    split: str = _split_option()
    scenes: str = option(
        "new",
        "With --photos: 'new' leaves out the photo pairs that the network was trained on, where "
        "that is known; 'all' measures them as well.",
        choices=("new", "all"),
    )
    perceptual: bool = option(
        True,
        "With --photos: also measure the distance between features of VGG-19, if its weights are "
        "installed. Takes 10 seconds per photo on two cores.",
    )
    device: str = _device_option()
