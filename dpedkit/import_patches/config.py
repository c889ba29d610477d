"""Settings of `dpedkit import-patches`."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config, option
from dpedkit.core.publication import (
    authors_option,
    citation_option,
    doi_option,
    licence_option,
    settle_statements,
)


@dataclass(frozen=True)
class ImportPatchesConfig(Config):
    """The split of patch pairs whose folders do not define one, and how many may be unreadable."""

    split: str = option(
        "test",
        "Split for two plain folders of patches. Nothing shows which patches come from the same "
        "photo, so a random division would test a network on scenes that it was trained on. The "
        "folders of DPED define their own splits.",
        choices=("train", "val", "test"),
    )
    max_failed: float = option(
        0.01,
        "Maximum fraction of unreadable patch pairs; above it, the exit code is 3.",
        minimum=0,
        maximum=1,
        affects_output=False,
    )
    licence: str = licence_option("patches")
    authors: str | None = authors_option("patches")
    citation: str | None = citation_option("patches")
    doi: str | None = doi_option("patches")

    def __post_init__(self) -> None:
        super().__post_init__()
        settle_statements(self)
