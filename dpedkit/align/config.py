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
        "How points of the two photos are matched at first: 'sift' is the surest, 'orb' faster on "
        "easy pairs.",
        choices=("sift", "orb"),
    )
    working_mp: float = option(
        1.5,
        "Size to which the phone photo is reduced for the fine alignment. Larger is slower and, on "
        "sharp photos, a little more accurate.",
        minimum=0.3,
        maximum=30,
        metavar="MP",
    )
    field: str = option(
        "auto",
        "What may be added to homography and lens distortion: 'auto' adds a smooth field (slight "
        "parallax, bent paper) or several surfaces at different depths where they fit clearly "
        "better, 'off' never adds anything.",
        choices=("auto", "off"),
    )
    max_residual: float = option(
        1.0,
        "Reject a pair when the median distance between matching details is larger than this after "
        "alignment, in pixels of the reduced photos.",
        minimum=0,
        metavar="PX",
    )
    min_verified: int = option(
        40,
        "Reject a pair with fewer image blocks than this whose detail is found again in the other "
        "photo, in place.",
        minimum=1,
        metavar="N",
    )
    min_in_place: float = option(
        0.4,
        "Reject a pair when less than this share of the detail that both photos have lies in "
        "place after alignment.",
        minimum=0,
        maximum=1,
        metavar="SHARE",
    )
    min_overlap: float = option(
        0.1,
        "Reject a pair when what both photos show is a smaller share of the phone photo than this.",
        minimum=0,
        maximum=1,
        metavar="SHARE",
    )
    min_size: int = option(
        128,
        "Reject photos, and crops, with a side shorter than this.",
        minimum=32,
        metavar="PX",
    )
    max_blur: float = option(
        4.5,
        "Reject photos whose sharpest edges are blurred by more than this (standard deviation).",
        minimum=0.5,
        metavar="PX",
    )


@dataclass(frozen=True)
class AlignFoldersConfig(AlignConfig, PhotoLimits, PairingConfig):
    """Settings of `align_folders`: those of pairing, of reading and of `align_pair`, and these."""

    images: bool = option(
        True,
        "Write the aligned images. Without them `dpedkit patches` cuts straight from the original "
        "photos: the same patches, sooner, and nothing stored twice; the originals must stay "
        "where they are.",
    )
    image_format: str = option(
        "png",
        "Format of the aligned images. PNG and TIFF keep every pixel as it is; JPEG is smaller and "
        "faster but is a second lossy step in the training data.",
        choices=("png", "jpg", "tiff"),
    )
    decisions: str | None = option(
        None,
        "File of pairs that you rejected after looking at them, as the report lets you download "
        "it. They are left out, also when the command is given again without the file; a pair "
        "comes back when a file without its line is given.",
        metavar="FILE",
        affects_output=False,
        is_file=True,
    )
    max_rejected: float = option(
        0.5,
        "End with exit code 3 when a larger share of the pairs than this was rejected, other than "
        "by --decisions. Everything is written all the same.",
        minimum=0,
        maximum=1,
        metavar="SHARE",
        affects_output=False,
    )

    @classmethod
    def of(cls, config: AlignConfig | None) -> Self:
        """These settings; those of `align_pair` alone take the defaults of all others."""
        if isinstance(config, cls):
            return config
        return cls(**config.to_dict()) if config else cls()
