"""The result of an evaluation: a table for each split, and what it means."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import console
from dpedkit.core.wording import counted, decibel
from dpedkit.evaluation.limitations import Limitations
from dpedkit.evaluation.scenes import ByScene, PatchScores
from dpedkit.evaluation.scores import Scores
from dpedkit.evaluation.verdict import against_baselines

_HEADER = (
    *("", "per-image PSNR", "MS-SSIM", "per-batch PSNR", "MS-SSIM"),
    *("SSIM", "pooled PSNR"),
)
_NOTE = (
    "per-image (the authors' challenge code): PSNR in dB of the clipped output and MS-SSIM of the "
    "unclipped\noutput, of each image separately, then averaged; SSIM likewise, of the clipped "
    "output.\nper-batch (the authors' training code): inputs rounded to float16, 50 unclipped "
    "images at a time.\npooled: PSNR of the mean squared error over all pixels.\n"
    "colour polynomial: fitted to the patches that the network was trained on.\n"
    "oracle polynomial: fitted to the scene that it is measured on. It shows what colour alone "
    "could achieve\nif the scene's exposure and white balance were known; it is no competitor, "
    "since it has seen the answer.\n"
    "colour error: distance between the mean colours, in 8-bit levels. contrast: of luma, "
    "relative to the\nDSLR's. noise: in flat blocks, relative to the phone's. "
    "The paper names these three as limitations.\n"
    "mean of scenes: of each scene's mean over its patches, with the 95% bootstrap interval over "
    "the scenes.\nThe differences are paired by scene."
)
_SCENE_COLUMNS = {
    "psnr": ("PSNR", ".2f"),
    "ms_ssim": ("MS-SSIM", ".4f"),
    "ssim": ("SSIM", ".4f"),
    "colour_error": ("colour error", ".2f"),
}
_NO_SCENES = (
    "There is no mean over scenes: these patches were imported, and it is not known which of them "
    "show\nthe same scene."
)
_UNKNOWN_SCENES = (
    "How many scenes these patches show is not known, so neither is how it does on others."
)
_LIMITS_HEADER = ("", "colour error", "contrast", "noise")


@dataclass(frozen=True)
class SplitScores:
    """One split: how many patches of how many photo pairs, and how each method does on them.

    Attributes
    ----------
    split : str
    patches, pairs : int
    scores, limitations : dict
        By method.
    by_scene : ByScene or None
        None if it is not known which patches show the same scene.
    worst, best : list of PatchScores
        Of the network, by PSNR, from different scenes where that is possible.
    """

    split: str
    patches: int
    pairs: int
    scores: dict[str, Scores]
    limitations: dict[str, Limitations] = field(default_factory=dict)
    by_scene: ByScene | None = None
    worst: list[PatchScores] = field(default_factory=list)
    best: list[PatchScores] = field(default_factory=list)

    def described(self) -> str:
        """How much was measured; each imported patch pair counts as a photo pair."""
        if self.pairs == self.patches:
            return counted(self.patches, "patch pair")
        return f"{counted(self.patches, 'patch', 'patches')} of {counted(self.pairs, 'photo pair')}"


@dataclass(frozen=True)
class Evaluation:
    """What `dpedkit evaluate` found.

    Attributes
    ----------
    model, shards : Path
    architecture : str
    splits : list of SplitScores
    trained_here : bool
        Whether the model's card says that it was trained on exactly these shards.
    saw_train : bool
        Whether it says so of these shards, among others perhaps.
    pictures : dict
        By split and "worst" or "best": those patches as `(rows, columns, S, S, 3) uint8`, a row
        for each patch, with a column for each method of `SHOWN` that was measured.
    """

    model: Path
    shards: Path
    architecture: str
    splits: list[SplitScores]
    trained_here: bool = False
    saw_train: bool = False
    pictures: dict[str, dict[str, NDArray[np.uint8]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON-ready values."""
        return {
            "model": str(self.model),
            "shards": str(self.shards),
            "architecture": self.architecture,
            "trained_here": self.trained_here,
            "saw_train": self.saw_train,
            "splits": [asdict(split) for split in self.splits],
            "verdict": self.verdict(),
        }

    def as_text(self) -> str:
        """The tables, and the verdict in words."""
        blocks = [f"{self.model} ({self.architecture}) on {self.shards}"]
        for split in self.splits:
            title = f"{split.split}: {split.described()}"
            rows = [_row(name, scores) for name, scores in split.scores.items()]
            limits = [_limits_row(name, found) for name, found in split.limitations.items()]
            blocks.append(f"{title}\n{console.table(_HEADER, rows)}{_identical_note(split)}")
            blocks.append(console.table(_LIMITS_HEADER, limits))
            blocks.append(split.by_scene.as_text(_SCENE_COLUMNS) if split.by_scene else _NO_SCENES)
        return "\n\n".join([*blocks, _NOTE, self.verdict()])

    def verdict(self) -> str:
        """Whether the network beats its baselines, judged on the scenes it has seen least.

        What speaks against the same on other scenes is always added.
        """
        judged = min(self.splits, key=lambda split: ("test", "val", "train").index(split.split))
        where = {
            "test": f"On the {judged.described()} of the test split, which training never sees, "
            "the network",
            "val": "On the val split, by which this network was chosen, it",
            "train": "On the patches it was trained on (no other split was measured), the network",
        }[judged.split]
        seen = judged.split == "train" and self.saw_train
        if not self.trained_here and not seen:
            where = (
                f"On the {judged.described()} of the {judged.split} split (it is not known whether "
                "training saw these scenes) the network"
            )
        found = against_baselines({name: asdict(own) for name, own in judged.scores.items()})
        return " ".join(filter(None, [where, found, *self._cautions(judged)]))

    def _cautions(self, judged: SplitScores) -> list[str]:
        """Why the verdict may not hold for other scenes."""
        seen = judged.split == "train" and self.saw_train
        cautions = ["That says nothing about scenes it has not seen."] if seen else []
        if judged.by_scene:
            cautions.append(judged.by_scene.caution())
        elif not seen:
            cautions.append(_UNKNOWN_SCENES)
        return cautions


def _row(name: str, scores: Scores) -> tuple[str, ...]:
    return (
        name,
        decibel(scores.psnr),
        f"{scores.ms_ssim:.4f}",
        decibel(scores.psnr_per_batch),
        f"{scores.ms_ssim_per_batch:.4f}",
        f"{scores.ssim:.4f}",
        decibel(scores.psnr_pooled),
    )


def _limits_row(name: str, found: Limitations) -> tuple[str, ...]:
    ratios = (found.contrast_ratio, found.noise_gain)
    return (
        name,
        f"{found.colour_error:.2f}",
        *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
    )


def _identical_note(split: SplitScores) -> str:
    counts = [
        f"{scores.identical} ({name})" for name, scores in split.scores.items() if scores.identical
    ]
    if not counts:
        return ""
    return (
        "\nleft out of the mean PSNR because they equal the DSLR's (infinite PSNR): "
        + ", ".join(counts)
    )
