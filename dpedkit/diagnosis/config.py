"""Settings of `dpedkit diagnose`."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config, option


@dataclass(frozen=True)
class DiagnoseConfig(Config):
    """How many photos are examined."""

    limit: int = option(
        50, "Examine at most this many photos, spread evenly over those given.", minimum=1
    )
