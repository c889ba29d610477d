"""Means over scenes with bootstrap intervals, and differences paired by scene.

Patches of one scene share its light, its colours and its alignment, so they are not independent of
each other; scenes are. How far a score may be from that on other scenes is therefore estimated by
drawing scenes, not patches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean

import numpy as np

from dpedkit.core.wording import counted

CONFIDENCE = 0.95
FEW_SCENES = 5  # below this, an interval says little, and no verdict about other scenes is possible
_RESAMPLES = 9999
_VALUES_AT_ONCE = 2_000_000  # resampled numbers in memory
_SEED = 0


@dataclass(frozen=True)
class Interval:
    """A mean over scenes and the range in which the mean over other such scenes probably lies.

    Attributes
    ----------
    mean : float
    low, high : float or None
        The 95% interval; None if there is only one scene.
    scenes : int
        Over how many the mean is.
    """

    mean: float
    low: float | None
    high: float | None
    scenes: int

    def text(self, form: str) -> str:
        """For example "28.41 [27.60, 29.13]", each number in the format `form`."""
        mean = format(self.mean, form)
        if self.low is None or self.high is None:
            return mean
        return f"{mean} [{format(self.low, form)}, {format(self.high, form)}]"

    @property
    def undecided(self) -> bool:
        """For a difference: whether it may be zero, or have the other sign, on other scenes."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def too_few(scenes: int) -> str:
    """That nothing can be concluded from so few scenes about others; empty if there are enough."""
    if scenes >= FEW_SCENES:
        return ""
    return f"That is {counted(scenes, 'scene')}, too few to tell how it does on others."


def caution_on_validation(validated_on: str, scenes: int | None) -> str:
    """What the scores of a validation say of other scenes.

    Parameters
    ----------
    validated_on : str
        The split of its patches: "val", or "train" if there is no val split.
    scenes : int or None
        How many they are of; None if that is not known.
    """
    if validated_on == "train":
        return (
            "Measured on patches that it was trained on, since there is no val split: that says "
            "nothing about scenes it has not seen."
        )
    known = "How many scenes it shows is not known." if scenes is None else too_few(scenes)
    return f"Measured on the val split, by which the best network is chosen. {known}".rstrip()


def over_scenes(values: Iterable[float | None]) -> Interval | None:
    """The mean of a value for each scene, with its interval.

    The interval is the percentile bootstrap over the scenes, always with the same random numbers.

    Parameters
    ----------
    values : iterable of float or None
        One for each scene; those that are None or not finite are left out.

    Returns
    -------
    Interval or None
        None if no value is left.
    """
    from scipy.stats import bootstrap

    kept = np.array([value for value in values if value is not None and math.isfinite(value)])
    if len(kept) == 0:
        return None
    mean = float(kept.mean())
    if len(kept) == 1:
        return Interval(mean, None, None, 1)
    found = bootstrap(
        (kept,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _VALUES_AT_ONCE // len(kept)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(kept))


def paired_difference(
    ours: Mapping[str, float | None], theirs: Mapping[str, float | None]
) -> Interval | None:
    """The mean over the scenes that both have of ours minus theirs, with its interval.

    Parameters
    ----------
    ours, theirs : mapping of str to float or None
        A value for each scene, by its name.

    Returns
    -------
    Interval or None
        None if no scene has a finite value in both.
    """
    pairs = [(ours[scene], theirs[scene]) for scene in ours if scene in theirs]
    return over_scenes(a - b for a, b in pairs if a is not None and b is not None)


@dataclass(frozen=True)
class Difference:
    """What one network scores less another, paired by scene.

    Attributes
    ----------
    name, other : str
        The networks, or what one is compared with.
    values : dict of str to Interval
        By measure: over the scenes that both were measured on.
    """

    name: str
    other: str
    values: dict[str, Interval]

    @classmethod
    def between(
        cls,
        name: str,
        ours: Mapping[str, Mapping[str, float]],
        other: str,
        theirs: Mapping[str, Mapping[str, float]],
    ) -> Difference | None:
        """The difference in all measures; None if there is no scene that both were measured on.

        Parameters
        ----------
        name, other : str
        ours, theirs : mapping of str to mapping of str to float
            By measure, then by scene.
        """
        found = {measure: paired_difference(ours[measure], theirs[measure]) for measure in ours}
        known = {measure: one for measure, one in found.items() if one is not None}
        return cls(name, other, known) if known else None

    @property
    def scenes(self) -> int:
        """Over how many the means are; an infinite PSNR leaves out its scene."""
        return max(found.scenes for found in self.values.values())


def means_by_scene(runs: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    """By scene, the mean over runs that differ in their seed, or were measured on other scenes.

    Parameters
    ----------
    runs : iterable of mapping of str to float or None
        By scene, the value of a run; None is left out.
    """
    values: dict[str, list[float]] = {}
    for run in runs:
        for scene, value in run.items():
            if value is not None:
                values.setdefault(scene, []).append(value)
    return {scene: mean(own) for scene, own in values.items()}
