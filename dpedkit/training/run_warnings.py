"""What a run warns of: a network that has collapsed, an idle discriminator, no gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# A discriminator that is always right teaches the generator nothing; one that guesses, neither.
_TOO_RIGHT, _GUESSING = 0.98, 0.52
_VALIDATIONS_IN_A_ROW = 3
_CONSTANT_BELOW = 2e-3  # standard deviation within a patch, in [0, 1]: less than half a grey level


def check_output(step: int, spread: float) -> list[str]:
    """Warn of a network that gives every pixel of a patch the same colour.

    Parameters
    ----------
    step : int
    spread : float
        Standard deviation within the enhanced patches, in [0, 1].
    """
    if step == 0 or spread >= _CONSTANT_BELOW:
        return []
    return [
        f"At step {step} the network's output is one flat colour: it has collapsed. Start again "
        "with a lower --learning-rate or another --seed."
    ]


def check_discriminator(accuracies: Sequence[float]) -> list[str]:
    """Warn once when the discriminator has been always right, or guessing, for a while.

    Parameters
    ----------
    accuracies : sequence of float
        On training patches, one for each validation so far.
    """
    for words, cure, is_so in (
        ("nearly always right", "a lower --texture-weight", lambda a: a > _TOO_RIGHT),
        ("only guessing", "--discriminator-pretraining 200", lambda a: a < _GUESSING),
    ):
        streak = 0
        for accuracy in reversed(accuracies):
            if not is_so(accuracy):
                break
            streak += 1
        if streak == _VALIDATIONS_IN_A_ROW:
            return [
                f"The discriminator has been {words} ({accuracies[-1]:.0%}) over the last "
                f"{streak} validations, so the texture loss teaches the network little; try {cure}."
            ]
    return []


def check_gain(
    best: Mapping[str, Any], untouched: Mapping[str, Any], validated_on: str, *, batch_norm: bool
) -> list[str]:
    """Warn of a best network that is further from the DSLR than the untouched phone patches.

    Parameters
    ----------
    best, untouched : mapping with "psnr" and "ms_ssim"
        None stands for a PSNR without limit.
    validated_on : str
        The split on which they were measured.
    batch_norm : bool
        Whether the network has batch norm; with few photos, it learns colours less steadily than
        instance norm.
    """
    cure = "train longer, use --norm instance," if batch_norm else "train longer,"
    worse = []
    for key, name, unit, digits in (("psnr", "PSNR", " dB", 2), ("ms_ssim", "MS-SSIM", "", 4)):
        ours, theirs = (math.inf if v is None else v for v in (best[key], untouched[key]))
        if ours < theirs:
            worse.append(f"{name} {ours:.{digits}f} against {theirs:.{digits}f}{unit}")
    if not worse:
        return []
    return [
        f"On the {validated_on} split the network is further from the DSLR than the untouched "
        f"phone patches ({'; '.join(worse)}): {cure} or use the recipe that starts from the "
        "colour map (--recipe cpu)."
    ]
