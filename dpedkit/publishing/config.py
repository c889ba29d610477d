"""Settings of `dpedkit card`."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config
from dpedkit.core.publication import (
    authors_option,
    citation_option,
    doi_option,
    licence_option,
    settle_statements,
)


@dataclass(frozen=True)
class CardConfig(Config):
    """What is stated of the photos or of the network; what is not given stays as it is."""

    licence: str | None = licence_option("photos or of the network", None)
    authors: str | None = authors_option("photos or the network")
    citation: str | None = citation_option("photos or the network")
    doi: str | None = doi_option("photos or the network")

    def __post_init__(self) -> None:
        super().__post_init__()
        settle_statements(self)
