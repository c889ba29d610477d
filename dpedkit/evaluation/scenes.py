"""Scores of each scene, their means with intervals, and differences paired by scene."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import console
from dpedkit.core.methods import NETWORK, RIVALS
from dpedkit.core.wording import counted, decibel, listed
from dpedkit.intervals import Interval, over_scenes, paired_difference, too_few

# By method and measure: (N,), a value for each image.
Values = Mapping[str, Mapping[str, NDArray[np.float64]]]

_EXTREMES = 4  # patches shown as the worst and as the best, from different scenes if possible
_TOLD = 3  # scenes named in the terminal


@dataclass(frozen=True)
class SceneScores:
    """One scene: by method and measure, the mean over its images.

    A PSNR is None if all images of the scene equal the DSLR's; others of them are left out.
    """

    scene: str
    images: int
    scores: dict[str, dict[str, float | None]]

    @property
    def network_psnr(self) -> float:
        """PSNR of the network, dB; inf if all images of the scene equal the DSLR's."""
        psnr = self.scores[NETWORK]["psnr"]
        return math.inf if psnr is None else psnr


@dataclass(frozen=True)
class PatchScores:
    """One patch pair: its number in the split, its scene if known, and the network's scores."""

    number: int
    scene: str | None
    scores: dict[str, float | None]


@dataclass(frozen=True)
class ByScene:
    """What is known of the scenes of a split.

    Attributes
    ----------
    scenes : list of SceneScores
        In the order of the photos.
    means : dict
        By method and measure: the mean over the scenes.
    differences : dict
        By rival and measure: the network's value less the rival's, paired by scene.
    """

    scenes: list[SceneScores]
    means: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]

    @classmethod
    def of(cls, scenes: list[SceneScores]) -> ByScene:
        """Summarise scenes that were measured by the same methods."""
        methods = scenes[0].scores
        columns = {
            method: {
                measure: {one.scene: one.scores[method][measure] for one in scenes}
                for measure in measures
            }
            for method, measures in methods.items()
        }
        means = {
            method: _known(
                {name: over_scenes(values.values()) for name, values in measured.items()}
            )
            for method, measured in columns.items()
        }
        rivals = [rival for rival in RIVALS if rival in columns and NETWORK in columns]
        differences = {
            rival: _known(
                {
                    name: paired_difference(values, columns[rival][name])
                    for name, values in columns[NETWORK].items()
                }
            )
            for rival in rivals
        }
        return cls(scenes, means, differences)

    def ranked(self) -> list[SceneScores]:
        """The scenes from the network's worst to its best PSNR."""
        return sorted(self.scenes, key=lambda one: one.network_psnr)

    def as_text(self, columns: Mapping[str, tuple[str, str]]) -> str:
        """A table of means, then of differences, and the scenes at the two ends.

        Parameters
        ----------
        columns : mapping
            Measures, each with its header and the format of its values.
        """
        header = (
            f"mean of {counted(len(self.scenes), 'scene')}",
            *(name for name, _ in columns.values()),
        )
        rows = [(name, *_cells(found, columns)) for name, found in self.means.items()]
        rows += [
            (f"network - {rival}", *_cells(found, columns, signed=True))
            for rival, found in self.differences.items()
        ]
        return f"{console.table(header, rows)}{self._ends()}"

    def _ends(self) -> str:
        ranked = self.ranked()
        if len(ranked) < 2:
            return ""
        told = min(_TOLD, len(ranked) // 2)
        ends = {"worst": ranked[:told], "best": ranked[: -told - 1 : -1]}
        words = [
            f"{end}: "
            + ", ".join(f"{one.scene} ({decibel(one.scores[NETWORK]['psnr'])} dB)" for one in some)
            for end, some in ends.items()
        ]
        return f"\n{'; '.join(words)}"

    def caution(self) -> str:
        """What speaks against concluding from these scenes that the network is better on others;
        empty if nothing does."""
        if few := too_few(len(self.scenes)):
            return few
        undecided = [
            f"{found['psnr'].text('+.2f')} dB over the {rival}"
            for rival, found in self.differences.items()
            if "psnr" in found and found["psnr"].undecided
        ]
        if undecided:
            return (
                f"Over the scenes the gain in PSNR is {listed(undecided)}, so on other scenes it "
                "may be none."
            )
        return ""


def group_by_scene(scenes: Sequence[str], values: Values) -> ByScene:
    """Scores of each scene from those of its images.

    Parameters
    ----------
    scenes : (N,) sequence of str
        The scene of each image.
    values : mapping of mapping of (N,) arrays
        By method and measure.
    """
    names = np.asarray(scenes)
    found = []
    for name in dict.fromkeys(scenes):
        own = names == name
        scores = {
            method: {measure: _mean(array[own]) for measure, array in measured.items()}
            for method, measured in values.items()
        }
        found.append(SceneScores(name, int(own.sum()), scores))
    return ByScene.of(found)


def extremes(scenes: Sequence[str] | None, values: Values) -> dict[str, NDArray[np.int64]]:
    """Positions of the images on which the network does worst and best, by PSNR.

    Of each scene at most one, where the scenes are known and there are enough.
    """
    psnr = values[NETWORK]["psnr"]
    order = np.argsort(psnr, kind="stable")
    order = order[np.isfinite(psnr[order])]
    return {
        "worst": _from_different_scenes(order, scenes),
        "best": _from_different_scenes(order[::-1], scenes),
    }


def _from_different_scenes(
    order: NDArray[np.int64], scenes: Sequence[str] | None
) -> NDArray[np.int64]:
    if scenes is None:
        return order[:_EXTREMES]
    first_of: dict[str, np.int64] = {}
    for position in order:
        first_of.setdefault(scenes[position], position)
    chosen = list(first_of.values())[:_EXTREMES]
    others = [position for position in order if position not in set(chosen)]
    return np.array([*chosen, *others[: _EXTREMES - len(chosen)]], np.int64)


def _cells(
    found: Mapping[str, Interval], columns: Mapping[str, tuple[str, str]], *, signed: bool = False
) -> list[str]:
    sign = "+" if signed else ""
    return [
        found[name].text(sign + form) if name in found else "-"
        for name, (_, form) in columns.items()
    ]


def _known(found: Mapping[str, Interval | None]) -> dict[str, Interval]:
    return {name: interval for name, interval in found.items() if interval is not None}


def _mean(values: NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
