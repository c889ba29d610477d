"""The settings of `dpedkit enhance`."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import option
from dpedkit.images.limits import PhotoLimits

PANEL_SIDE = 1400  # px; a before-after picture is for looking at, the full-size photo is beside it


@dataclass(frozen=True)
class EnhanceConfig(PhotoLimits):
    """How photos are enhanced and written."""

    format: str = option(
        "same",
        "Format of the enhanced photos; 'same' keeps JPEG, PNG and TIFF, and writes any other "
        "format as PNG.",
        choices=("same", "jpg", "png", "tif"),
    )
    jpeg_quality: int = option(95, "Quality of JPEG photos.", minimum=1, maximum=100)
    side_by_side: bool = option(
        False,
        "Also write NAME-before-after.jpg: the photo and the enhanced one next to each other, "
        f"each at most {PANEL_SIDE} px wide and high.",
    )
    colours_only: bool = option(
        False,
        "Apply only the colour map of a photo-aware or colour-residual network, not the layers "
        "that add detail: several times as fast.",
    )
    max_failed: float = option(
        0.5,
        "Maximum fraction of unreadable photos; above it, the exit code is 3.",
        minimum=0,
        maximum=1,
        affects_output=False,
    )
    device: str = option(
        "auto",
        "Device to compute on: 'auto' uses a GPU if there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        affects_output=False,
    )
    precision: str = option(
        "fp32",
        "Number format of the convolutions; bf16 and fp16 are for GPUs, where they are faster and "
        "take half the memory. PyTorch's names are accepted too.",
        choices=("fp32", "bf16", "fp16"),
        synonyms={"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"},
    )
    strip_megapixels: float = option(
        0.064,
        "Size of the strips in which photos are computed. Smaller ones take less memory; the "
        "result does not depend on it.",
        minimum=0.001,
        metavar="MP",
        affects_output=False,
    )
    memory: float = option(
        1.2,
        "Intermediate results up to this size are kept in memory; larger ones go to a temporary "
        "file in the output folder.",
        minimum=0,
        metavar="GB",
        affects_output=False,
    )
