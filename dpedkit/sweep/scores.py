"""What one run of a sweep scored, beside its baselines, as it is kept in the sweep's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MEASURES = ("psnr", "ms_ssim")


@dataclass(frozen=True)
class Measured:
    """How one method did on the patches that a run is measured on.

    Attributes
    ----------
    psnr : float or None
        dB, of each patch by itself, then the mean; None where it is infinite.
    ms_ssim : float
    scenes : dict
        By scene: the same two measures by their names. Empty if it is not known which patches show
        the same scene.
    """

    psnr: float | None
    ms_ssim: float
    scenes: dict[str, dict[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The result of one run.

    Attributes
    ----------
    variant : str
        Its settings, as the tables name them.
    seed : int
    fold : int or None
        From 1; None without cross-validation.
    patches : int
        How many it was measured on.
    methods : dict of str to Measured
        The network, the untouched phone patches, the colour polynomial of the run's train split,
        and where training started from a network, that network.
    shards, init : str, str or None
        Hashes of the patches, and of the network at the start: what the baselines depend on.
    cpu_seconds : float or None
        Processor time of the training; None where it is not known, as after a kill.
    """

    variant: str
    seed: int
    fold: int | None
    patches: int
    methods: dict[str, Measured]
    shards: str
    init: str | None = None
    cpu_seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Score:
        """From what `to_dict` made.

        Raises
        ------
        KeyError, TypeError
            If it is something else.
        """
        methods = {name: Measured(**found) for name, found in content["methods"].items()}
        return cls(**{**content, "methods": methods})
