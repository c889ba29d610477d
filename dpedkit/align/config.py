"""Settings of `dpedkit align`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dpedkit.core.config import Config, option
from dpedkit.images.limits import PhotoLimits
from dpedkit.pairing.config import PairingConfig


@dataclass(frozen=True)
class AlignConfig(Config):
    """Settings of `align_pair`."""

    matcher: str = option(
        "sift",
        "Keypoint matcher of the first step: 'sift' is the most reliable, 'orb' is faster on easy "
        "pairs.",
        choices=("sift", "orb"),
    )
    working_mp: float = option(
        1.5,
        "Size to which the phone photo is reduced for the fine alignment. A larger size is slower "
        "and, on sharp photos, slightly more accurate.",
        minimum=0.3,
        maximum=30,
        metavar="MP",
    )
    field: str = option(
        "auto",
        "What may be added to the homography and the lens distortion: 'auto' adds a smooth field "
        "(slight parallax, curved paper) or several surfaces at different depths if they fit "
        "clearly better; 'off' adds nothing.",
        choices=("auto", "off"),
    )
    max_residual: float = option(
        1.0,
        "Reject a pair if the median distance between matching details exceeds this after "
        "alignment, in pixels of the reduced photos.",
        minimum=0,
        metavar="PX",
    )
    min_verified: int = option(
        40,
        "Reject a pair if fewer image blocks than this are found in place in the other photo.",
        minimum=1,
        metavar="N",
    )
    min_in_place: float = option(
        0.4,
        "Reject a pair if less than this fraction of the detail in both photos is in place after "
        "alignment.",
        minimum=0,
        maximum=1,
        metavar="SHARE",
    )
    min_overlap: float = option(
        0.1,
        "Reject a pair if the DSLR photo covers less than this fraction of the phone photo.",
        minimum=0,
        maximum=1,
        metavar="SHARE",
    )
    min_size: int = option(
        128,
        "Reject photos and crops that have a side shorter than this.",
        minimum=32,
        metavar="PX",
    )
    max_blur: float = option(
        4.5,
        "Reject photos whose sharpest edges have a blur of more than this (standard deviation).",
        minimum=0.5,
        metavar="PX",
    )


@dataclass(frozen=True)
class AlignFoldersConfig(AlignConfig, PhotoLimits, PairingConfig):
    """Settings of `align_folders`: pairing, reading, `align_pair`, and the output folder."""

    images: bool = option(
        True,
        "Write the aligned images. Without them, `dpedkit patches` cuts the same patches from the "
        "original photos, which is faster and stores nothing twice, but the originals must stay "
        "where they are.",
    )
    image_format: str = option(
        "png",
        "Format of the aligned images. PNG and TIFF are lossless; JPEG is smaller and faster, but "
        "compresses the training data a second time.",
        choices=("png", "jpg", "tiff"),
    )
    decisions: str | None = option(
        None,
        "File that lists pairs you rejected or accepted by hand, as downloaded from the report. "
        "The decisions stay in force in later runs without this option. To leave a pair to the "
        "evidence again, give a file without its line.",
        metavar="FILE",
        affects_output=False,
        is_file=True,
    )
    max_rejected: float = option(
        0.5,
        "Exit with code 3 if more than this fraction of the pairs was rejected, not counting "
        "--decisions. All output is written in any case.",
        minimum=0,
        maximum=1,
        metavar="SHARE",
        affects_output=False,
    )

    @property
    def suffix(self) -> str:
        """Of the aligned images, without the dot; empty where none are written."""
        return self.image_format if self.images else ""

    @classmethod
    def of(cls, config: AlignConfig | None) -> Self:
        """`config` as folder settings; what an `AlignConfig` lacks takes its default."""
        if isinstance(config, cls):
            return config
        return cls(**config.to_dict()) if config else cls()
