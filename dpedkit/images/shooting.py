"""How a photo was taken, from its EXIF data, in words for people."""

from __future__ import annotations

import math
from typing import Any

from PIL import ExifTags, Image

from dpedkit.images.metadata import DAMAGED, quiet

_FAST = 0.3  # s; cameras show times below it as a fraction, 1/60


def describe_shooting(block: bytes) -> tuple[str, str]:
    """The lens, and the focal length, aperture, exposure time and sensitivity.

    Parameters
    ----------
    block : bytes
        An EXIF block, as in `Metadata.exif`.

    Returns
    -------
    lens : str
        Its model as the camera names it.
    exposure : str
        Such as "4.2 mm, f/1.8, 1/120 s, ISO 50".

    Both are empty, or lack a part, where the block does not say or is damaged.
    """
    exif = Image.Exif()
    try:
        with quiet:
            exif.load(block)
            details = exif.get_ifd(ExifTags.IFD.Exif)
    except DAMAGED:
        return "", ""
    lens = str(details.get(ExifTags.Base.LensModel, "")).strip("\0 ")
    length, aperture, time, speed = (
        _positive(details.get(tag))
        for tag in (
            ExifTags.Base.FocalLength,
            ExifTags.Base.FNumber,
            ExifTags.Base.ExposureTime,
            ExifTags.Base.ISOSpeedRatings,
        )
    )
    parts = (
        f"{length:.3g} mm" if length else "",
        f"f/{aperture:.2g}" if aperture else "",
        _time(time) if time else "",
        f"ISO {speed:.0f}" if speed else "",
    )
    return lens, ", ".join(filter(None, parts))


def _time(seconds: float) -> str:
    return f"1/{1 / seconds:.0f} s" if seconds < _FAST else f"{seconds:.3g} s"


def _positive(value: Any) -> float | None:
    """A tag's value as a number, the first of several; None where it is none or not above 0."""
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, ArithmeticError, IndexError):
        return None
    return number if math.isfinite(number) and number > 0 else None
