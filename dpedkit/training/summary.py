"""The result of `dpedkit train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpedkit.core import console
from dpedkit.core.wording import counted, decibel
from dpedkit.intervals import Interval, caution_on_validation

_FORMS = {"psnr": ".2f", "ms_ssim": ".4f"}  # of means over scenes


@dataclass(frozen=True)
class TrainSummary:
    """What a run left in its folder.

    Attributes
    ----------
    folder, model, last : Path
        The run, its best and its newest network.
    steps, best_step : int
    psnr, ms_ssim, untouched_psnr, untouched_ms_ssim : float
        Of the best network and of the phone patches, on the patches of its validations. A PSNR
        is None where all of them equal the DSLR's.
    over_scenes, untouched_over_scenes : dict
        The same as means over the scenes: for each measure, an `Interval` as a dictionary. Empty if
        it is not known which patches show the same scene.
    validated_on : str
        The split of these patches: "val", or "train" if there is no val split.
    content : str
        The content loss used.
    warnings : list of str
    """

    folder: Path
    model: Path
    last: Path
    steps: int
    best_step: int
    psnr: float | None
    ms_ssim: float
    untouched_psnr: float | None
    untouched_ms_ssim: float
    over_scenes: dict[str, dict[str, Any]]
    untouched_over_scenes: dict[str, dict[str, Any]]
    validated_on: str
    content: str
    warnings: list[str] = field(default_factory=list)

    @property
    def scenes(self) -> int | None:
        """How many scenes the patches show; None if that is not known."""
        return max((one["scenes"] for one in self.untouched_over_scenes.values()), default=None)

    def caution(self) -> str:
        """What the scores say of other scenes."""
        return caution_on_validation(self.validated_on, self.scenes)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        content = self.__dict__ | {"caution": self.caution()}
        return content | {name: str(content[name]) for name in ("folder", "model", "last")}

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.folder}: {counted(self.steps, 'step')}, content loss {self.content}",
            self._table(),
            f"best network: {self.model}",
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)

    def _table(self) -> str:
        header = ["during training", "PSNR dB", "MS-SSIM"]
        rows = [
            ["untouched phone", decibel(self.untouched_psnr), f"{self.untouched_ms_ssim:.4f}"],
            [f"best, step {self.best_step}", decibel(self.psnr), f"{self.ms_ssim:.4f}"],
        ]
        if self.scenes is not None:
            header += [f"PSNR dB, mean of {counted(self.scenes, 'scene')}", "MS-SSIM"]
            rows[0] += _cells(self.untouched_over_scenes)
            rows[1] += _cells(self.over_scenes)
        return console.table(header, rows, self.caution())


def _cells(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Means over scenes with their intervals; networks of earlier versions have none."""
    return [
        Interval(**found[key]).text(form) if key in found else "-" for key, form in _FORMS.items()
    ]
