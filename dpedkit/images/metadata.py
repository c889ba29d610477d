"""What a photo file says besides its pixels."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from dpedkit.core.process import SharedChange

# Tags that say how a TIFF's pixels are stored and turned (TIFF 6.0), and its embedded profile.
_LAYOUT_TAGS = frozenset((
    *range(254, 260), *range(262, 267), 273, 274, *range(277, 282), 284, *range(290, 294), 301,
    317, 320, *range(322, 326), 330, 338, 339, 347, *range(512, 522), *range(529, 533), 34675,
))  # fmt: skip
# What is kept of the first part of a camera RAW's tags; the others tell how to develop it.
_KEPT_OF_RAW = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
CONVERTED = "converted from"  # how a conversion begins that is one of colour profiles
_MAKER_NOTE = 0x927C
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What can be wrong with a block of EXIF, as Pillow says it.
DAMAGED = (struct.error, ValueError, TypeError, KeyError, OverflowError, SyntaxError, OSError)


@dataclass(frozen=True)
class Metadata:
    """What a photo file holds besides its pixels, to be written with changed pixels.

    Attributes
    ----------
    exif : bytes
        The EXIF block with its orientation set to normal, or empty.
    icc : bytes
        An sRGB profile, since pixels are always sRGB: the file's own, or a new one if the pixels
        were converted from another profile. Empty if the file has none.
    camera : str
        Make and model of the camera; empty if unknown.
    conversion : str
        What was done beyond decoding: the settings that a camera RAW was developed with, or the
        colour profile that was converted to sRGB. Otherwise empty.
    """

    exif: bytes = b""
    icc: bytes = b""
    camera: str = ""
    conversion: str = ""

    @property
    def converted(self) -> bool:
        """Whether the pixels were converted from another colour profile."""
        return self.conversion.startswith(CONVERTED)


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


quiet = SharedChange(_without_warnings)
"""Pillow's warnings of odd EXIF blocks kept away."""


def exif_of(image: Image.Image) -> Image.Exif:
    """The EXIF data of a decoded photo; empty where they are damaged."""
    try:
        return image.getexif()
    except DAMAGED:
        return Image.Exif()


def header_exif(path: Path, image: Image.Image) -> Image.Exif:
    """The EXIF data of a photo that is opened but not decoded, and need not be.

    A PNG may have them behind its pixels, which Pillow decodes on the way there.
    """
    if image.format != "PNG" or "exif" in image.info:
        return exif_of(image)
    exif = Image.Exif()
    try:
        exif.load(_png_chunk(path, b"eXIf"))
    except DAMAGED:
        return Image.Exif()
    return exif


def _png_chunk(path: Path, wanted: bytes) -> bytes:
    """The content of a PNG's first chunk of a kind; empty where there is none."""
    with path.open("rb") as file:
        file.seek(len(_PNG_SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == wanted:
                return file.read(length)
            file.seek(length + 4, 1)  # and its checksum
    return b""


def descriptive_exif(found: Image.Exif, *, of_raw: bool = False) -> bytes:
    """The EXIF block without what describes the old file: orientation, layout, thumbnail.

    Of a camera RAW file the tags for its development and the maker's note go too, since they are
    long and say nothing of developed pixels.
    """
    kept = Image.Exif()
    try:
        for tag, value in found.items():
            layout = tag in _LAYOUT_TAGS or tag in tuple(ExifTags.IFD)
            if tag in _KEPT_OF_RAW or not (of_raw or layout):
                kept[tag] = value
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            kept.get_ifd(part).update(found.get_ifd(part))
        if of_raw:
            kept.get_ifd(ExifTags.IFD.Exif).pop(_MAKER_NOTE, None)
        return kept.tobytes() if _holds_something(kept) else b""
    except DAMAGED:
        return b""  # a damaged block of notes must not cost the photo


def without_makers_note(block: bytes) -> bytes:
    """The EXIF block without the maker's note, its longest part by far."""
    exif = Image.Exif()
    exif.load(block)
    exif.get_ifd(ExifTags.IFD.Exif).pop(_MAKER_NOTE, None)
    return exif.tobytes()


def camera_name(exif: Image.Exif) -> str:
    """Make and model of the camera by its EXIF data; empty where they do not say."""
    make, model = (
        str(exif.get(tag, "")).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model)
    )
    # Many makers repeat their name in that of the model: 'NIKON CORPORATION', 'NIKON D5500'.
    if not make or (model and model.split()[0].casefold() == make.split()[0].casefold()):
        return model
    return f"{make} {model}".strip()


def _holds_something(exif: Image.Exif) -> bool:
    parts = (exif.get_ifd(part) for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
    return len(exif) > 0 or any(parts)
