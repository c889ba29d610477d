"""Settings of `dpedkit evaluate`."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config, option
from dpedkit.shards.config import verify_option


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """What is measured, and where."""

    split: str = option("all", "Which split to measure.", choices=("all", "train", "val", "test"))
    train_patches: int = option(
        1000,
        "Measure this many patches of the train split, spread over it; 0 takes all. The other "
        "splits are always measured whole.",
        minimum=0,
    )
    verify: bool = verify_option()
    device: str = option(
        "auto",
        "Where to compute: 'auto' takes a GPU if there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        affects_output=False,
    )
