"""How large a photo may be: what a header claims is checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpedkit.core.config import Config, option
from dpedkit.core.errors import PhotoError


@dataclass(frozen=True)
class PhotoLimits(Config):
    """The limits on the photos that a stage reads; part of the settings of such a stage."""

    max_megapixels: float = option(
        250.0,
        "Refuse photos with more pixels than this; the largest phone sensors have 200 MP.",
        minimum=0.01,
        metavar="MP",
    )
    max_file_size: float = option(
        1000.0,
        "Refuse photos whose file is larger than this.",
        minimum=0.001,
        metavar="MB",
    )
    max_decoded_size: float = option(
        1000.0,
        "Refuse photos whose decoded pixels take more memory than this: 4 bytes per pixel, or 8 "
        "in RAW files and 16-bit TIFF with alpha. Reading a photo takes at most five times as "
        "much, in each worker.",
        minimum=0.001,
        metavar="MB",
    )

    def check_file(self, path: Path, size: int) -> None:
        """Raise PhotoError for an empty file, and for one of more bytes than allowed."""
        if size == 0:
            raise PhotoError(f"{path} is empty (0 bytes).")
        if size > self.max_file_size * 1e6:
            raise PhotoError(
                f"{path} is {size / 1e6:.0f} MB in size; the limit is {self.max_file_size:g} "
                "(--max-file-size)."
            )

    def check_pixels(self, path: Path, width: int, height: int) -> None:
        """Raise PhotoError if a header claims more pixels than allowed."""
        if width * height > self.max_megapixels * 1e6:
            raise PhotoError(
                f"{path} claims {width} x {height} px, {width * height / 1e6:.1f} MP; the limit is "
                f"{self.max_megapixels:g} (--max-megapixels)."
            )

    def check_decoded(self, path: Path, width: int, height: int, pixel_bytes: int) -> None:
        """Raise PhotoError if the pixels that a header claims take more bytes than allowed."""
        size = width * height * pixel_bytes
        if size > self.max_decoded_size * 1e6:
            raise PhotoError(
                f"{path} takes {size / 1e6:.0f} MB when decoded, at {pixel_bytes} bytes per pixel; "
                f"the limit is {self.max_decoded_size:g} (--max-decoded-size)."
            )


# For files that passed the limits before, or that dpedkit made.
NO_LIMITS = PhotoLimits(max_megapixels=1e9, max_file_size=1e9, max_decoded_size=1e12)
