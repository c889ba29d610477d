"""What a training run hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpedkit.core import console


@dataclass(frozen=True)
class TrainSummary:
    """What a run left in its folder.

    Attributes
    ----------
    folder, model, last : Path
        The run, its best and its newest network.
    steps, best_step : int
    psnr, ms_ssim, untouched_psnr, untouched_ms_ssim : float
        Of the best network and of the phone patches, on the patches it was evaluated on. A PSNR
        is None where all of them equal the DSLR's.
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
    content: str
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        content = dict(self.__dict__)
        return content | {name: str(content[name]) for name in ("folder", "model", "last")}

    def as_text(self) -> str:
        """A few lines for people."""
        rows = [
            ("untouched phone", decibel(self.untouched_psnr), f"{self.untouched_ms_ssim:.4f}"),
            (f"best, step {self.best_step}", decibel(self.psnr), f"{self.ms_ssim:.4f}"),
        ]
        lines = [
            f"{self.folder}: {self.steps} steps, content loss {self.content}",
            console.table(("during training", "PSNR dB", "MS-SSIM"), rows),
            f"best network: {self.model}",
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)


def decibel(psnr: float | None) -> str:
    """A PSNR for people; None stands for one without limit."""
    return "inf" if psnr is None else f"{psnr:.2f}"
