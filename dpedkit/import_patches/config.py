"""Settings of `dpedkit import-patches`."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config, option


@dataclass(frozen=True)
class ImportPatchesConfig(Config):
    """Where patch pairs go whose folders do not say it, and how many may be unreadable."""

    split: str = option(
        "test",
        "The split of two plain folders of patches. Nothing tells which of them come from the same "
        "photo, so dividing them by chance would test a network on scenes it was trained on. The "
        "folders of DPED say themselves what is for training and what for testing.",
        choices=("train", "val", "test"),
    )
    max_failed: float = option(
        0.01,
        "Largest part of the patch pairs that may be unreadable; beyond it the exit code is 3.",
        minimum=0,
        maximum=1,
        affects_output=False,
    )
