"""Whether a network beats its baselines, in words: on patches and on whole photos alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dpedkit.core.methods import NETWORK, RIVALS
from dpedkit.core.wording import listed

Scores = Mapping[str, float | None]  # by measure; a PSNR of None is infinite


@dataclass(frozen=True)
class _Measure:
    """How a measure is named and written, and below which difference it is rounding, not merit."""

    name: str
    form: str  # of a difference
    tie: float
    lower_is_better: bool = False

    def is_ahead(self, one: float, other: float) -> bool:
        """Whether one value is better than another by more than rounding."""
        return one < other - self.tie if self.lower_is_better else one > other + self.tie


_MEASURES = {
    "psnr": _Measure("PSNR", "+.2f", 0.005),
    "ssim": _Measure("SSIM", "+.4f", 0.00005),
    "ms_ssim": _Measure("MS-SSIM", "+.4f", 0.00005),
    "ciede2000": _Measure("CIEDE2000", "+.2f", 0.005, lower_is_better=True),
}


def against_baselines(scores: Mapping[str, Scores]) -> str:
    """The end of a sentence about the network: that it beats its baselines, by how much, or not.

    Parameters
    ----------
    scores : mapping of str to mapping of str to float or None
        By method and measure. Measures that only some methods have do not count.
    """
    network = scores[NETWORK]
    rivals = {name: scores[name] for name in RIVALS if name in scores}
    baselines = "the baselines" if len(rivals) > 1 else "the baseline"
    lost = {name: _lost_to(network, rival) for name, rival in rivals.items()}
    complaints = [f"the {name} is ahead in {listed(own)}" for name, own in lost.items() if own]
    if complaints:
        return f"does not beat {baselines}: {'; '.join(complaints)}."
    gains = [f"{_gain(network, rival)} over the {name}" for name, rival in rivals.items()]
    return f"beats {baselines}: {'; '.join(gains)}."


def _lost_to(network: Scores, rival: Scores) -> list[str]:
    """Names of the measures in which the rival is ahead."""
    return [
        measure.name
        for key, measure in _shared(network, rival).items()
        if measure.is_ahead(_value(rival, key), _value(network, key))
    ]


def _gain(network: Scores, rival: Scores) -> str:
    gains = [
        f"{_value(network, key) - _value(rival, key):{measure.form}} {measure.name}"
        for key, measure in _shared(network, rival).items()
    ]
    return ", ".join(gains).replace(" PSNR", " dB PSNR")


def _shared(network: Scores, rival: Scores) -> dict[str, _Measure]:
    return {key: own for key, own in _MEASURES.items() if key in network and key in rival}


def _value(scores: Scores, key: str) -> float:
    value = scores[key]
    return math.inf if value is None else value
