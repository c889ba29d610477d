"""When a photo was taken and by which camera, from its EXIF data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.images.decoding import opened
from dpedkit.images.listing import RAW_SUFFIXES
from dpedkit.images.metadata import camera_name, header_exif
from dpedkit.images.raw import read_raw_exif

_TIME = "%Y:%m:%d %H:%M:%S"  # EXIF 3.0, section 4.6.5
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")


@dataclass(frozen=True)
class Capture:
    """What EXIF says of the moment a photo was taken.

    Attributes
    ----------
    time : datetime or None
        DateTimeOriginal, with the zone where the file names it; None where the file has none.
    resolution : float
        What the clock can tell apart, in seconds: 1, or less with sub-seconds.
    camera : str
        Make and model; empty where the file does not say.
    """

    time: datetime | None = None
    resolution: float = 1.0
    camera: str = ""


def read_capture(path: str | Path) -> Capture:
    """When and with what a photo was taken; an unreadable file says nothing.

    Raises
    ------
    DpedkitError
        If a library that the photo needs is not installed.
    """
    exif, details = _exif(Path(path))
    text = str(details.get(ExifTags.Base.DateTimeOriginal, "")).strip("\0 ")
    camera = camera_name(exif)
    try:
        time = datetime.strptime(text, _TIME)
    except ValueError:
        return Capture(camera=camera)
    digits = str(details.get(ExifTags.Base.SubsecTimeOriginal, "")).strip("\0 ")
    resolution = 1.0
    if digits.isdecimal():
        time += timedelta(seconds=float(f"0.{digits}"))
        resolution = 10.0 ** -len(digits)
    return Capture(time.replace(tzinfo=_zone(details)), resolution, camera)


def _exif(path: Path) -> tuple[Image.Exif, dict[int, Any]]:
    """The EXIF tags of the photo, and those of its part about the picture taking."""
    try:
        if path.suffix.lower() in RAW_SUFFIXES:
            exif = read_raw_exif(path)
            return exif, exif.get_ifd(ExifTags.IFD.Exif)
        with opened(path) as image:
            exif = header_exif(path, image)
            return exif, exif.get_ifd(ExifTags.IFD.Exif)
    except PhotoError:
        return Image.Exif(), {}
    except DpedkitError:
        raise
    except Exception:  # decoders raise anything for a file that is damaged cleverly
        return Image.Exif(), {}


def _zone(details: dict[int, Any]) -> timezone | None:
    found = _ZONE.fullmatch(str(details.get(ExifTags.Base.OffsetTimeOriginal, "")).strip("\0 "))
    if found is None:
        return None
    sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == "-" else offset) if offset < timedelta(days=1) else None
