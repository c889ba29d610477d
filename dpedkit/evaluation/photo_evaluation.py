"""The result of an evaluation on whole photos: tables over scenes, and what they mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.wording import counted, some
from dpedkit.evaluation.scenes import ByScene
from dpedkit.evaluation.verdict import against_baselines

COLUMNS = {
    "psnr": ("PSNR", ".2f"),
    "ms_ssim": ("MS-SSIM", ".4f"),
    "ssim": ("SSIM", ".4f"),
    "ciede2000": ("CIEDE2000", ".2f"),
    "vgg19": ("VGG-19", ".4f"),
}
_NOTE = (
    "Of each whole aligned photo, as it would be saved, then the mean of the photos with the 95% "
    "bootstrap\ninterval over them; differences are paired by photo. Pixels do not count where the "
    "alignment does not\nhold. CIEDE2000: mean colour difference; 1 can just be seen. VGG-19: mean "
    "squared difference of the features\nof relu5_4 in up to four squares of 224 px (not LPIPS). "
    "oracle polynomial: fitted to the photo itself."
)


@dataclass(frozen=True)
class PhotoFacts:
    """What is known of a measured photo besides its scores.

    Attributes
    ----------
    split : str or None
        Of the training's shards; None if they do not have the pair, or it is not known.
    counted : float
        Share of its pixels that count.
    width, height : int
        Of the aligned photo, px.
    """

    split: str | None
    counted: float
    width: int
    height: int


@dataclass(frozen=True)
class PhotoEvaluation:
    """What `dpedkit evaluate --photos` found.

    Attributes
    ----------
    model, aligned : Path
    architecture : str
    by_scene : ByScene
        A scene is a photo pair here.
    photos : dict of str to PhotoFacts
        By the name of the pair.
    left_out : dict of str to str
        Pairs that were not measured, and why.
    trained_on : int or None
        How many of the folder's pairs the network was trained on; None if that is not known.
    aligned_hash : str
        Of all that determines the aligned photos, see `dpedkit.aligned.content_hash`.
    vgg_weights : str
        File of VGG-19's weights; empty if they were not used.
    pictures : dict
        By the name of a pair, of the worst and the best: its pictures `(H, W, 3) uint8` by method,
        reduced.
    """

    model: Path
    aligned: Path
    architecture: str
    by_scene: ByScene
    photos: dict[str, PhotoFacts]
    left_out: dict[str, str]
    trained_on: int | None
    aligned_hash: str
    vgg_weights: str = ""
    pictures: dict[str, dict[str, NDArray[np.uint8]]] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON-ready values."""
        return {
            "model": str(self.model),
            "aligned": str(self.aligned),
            "aligned_hash": self.aligned_hash,
            "architecture": self.architecture,
            "trained_on": self.trained_on,
            "vgg_weights": self.vgg_weights,
            "by_scene": asdict(self.by_scene),
            "photos": {name: asdict(facts) for name, facts in self.photos.items()},
            "left_out": self.left_out,
            "verdict": self.verdict(),
        }

    def as_text(self) -> str:
        """The tables, and the verdict in words."""
        head = f"{self.model} ({self.architecture}) on the photos of {self.aligned}"
        measured = {key for found in self.by_scene.means.values() for key in found}
        columns = {key: words for key, words in COLUMNS.items() if key in measured}
        parts = [head, self.by_scene.as_text(columns), _NOTE, self._left_out(), self.verdict()]
        return "\n\n".join(filter(None, parts))

    def _left_out(self) -> str:
        if not self.left_out:
            return ""
        first = next(iter(self.left_out.values()))
        return (
            f"{counted(len(self.left_out), 'pair')} could not be measured ({some(self.left_out)}): "
            f"{first}"
        )

    def verdict(self) -> str:
        """Whether the network beats its baselines on these photos, with what is known of them."""
        means = {
            method: {key: found.mean for key, found in measured.items()}
            for method, measured in self.by_scene.means.items()
        }
        where = f"On {self._described()} the network"
        found = against_baselines(means)
        return " ".join(filter(None, [where, found, self._seen(), self.by_scene.caution()]))

    def _described(self) -> str:
        whole = counted(len(self.photos), "whole photo")
        if self.trained_on is None:
            return f"{whole} (it is not known whether training saw these scenes)"
        splits = [facts.split for facts in self.photos.values()]
        if "train" in splits:
            return whole
        if "val" in splits:
            return (
                f"{whole} that it was not trained on ({splits.count('val')} of them in the val "
                "split, by which it was chosen)"
            )
        return f"{whole} that training never saw"

    def _seen(self) -> str:
        """That training saw some of the photos."""
        seen = sum(facts.split == "train" for facts in self.photos.values())
        if not seen:
            return ""
        return (
            f"It was trained on {seen} of them, so that says little about scenes that it has not "
            "seen."
        )
