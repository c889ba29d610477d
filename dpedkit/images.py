"""The only reader and writer of photos: files in, `(H, W, 3) uint8` RGB arrays out, and back.

EXIF orientation is applied here, once, for every format. A photo that cannot be read whole is a
`PhotoError`; a truncated file is never completed with grey.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from dpedkit import console
from dpedkit.atomic import complete_or_absent
from dpedkit.errors import DpedkitError, PhotoError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif", ".bmp")
MAX_PIXELS = 250_000_000  # twice the largest sensor sold in a phone or an interchangeable-lens body

_WRITERS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
JPEG_QUALITY = 95
# Tags that say how a TIFF's pixels are stored and turned (TIFF 6.0), and its embedded profile.
_LAYOUT_TAGS = frozenset((
    *range(254, 260), *range(262, 267), 273, 274, *range(277, 282), 284, *range(290, 294), 301,
    317, 320, *range(322, 326), 330, 338, 339, 347, *range(512, 522), *range(529, 533), 34675,
))  # fmt: skip
_JPEG_EXIF_LIMIT = 65_533  # bytes: a JPEG segment and its own length have 16 bits
_MAKER_NOTE = 0x927C
_PNG_LEVEL = 1  # 3 times as fast as the default level for files 5% larger


@dataclass(frozen=True)
class Metadata:
    """What a photo file says besides its pixels, to be written beside changed pixels.

    Attributes
    ----------
    exif : bytes
        The EXIF block with its orientation set to normal, or empty.
    icc : bytes
        The ICC profile of the pixels, or empty for sRGB.
    """

    exif: bytes = b""
    icc: bytes = b""


def list_photos(folder: Path) -> list[Path]:
    """The photo files in a folder (not below it), sorted by name; hidden files are left out.

    Raises
    ------
    DpedkitError
        If the folder is missing, is a file, or holds no photo.
    """
    if not folder.exists():
        raise DpedkitError(f"{folder}: there is no such folder.")
    if not folder.is_dir():
        raise DpedkitError(f"{folder} is a file; give the folder that holds the photos.")
    entries = sorted(folder.iterdir())
    photos = [path for path in entries if is_photo_name(path) and path.is_file()]
    if not photos:
        found = ", ".join(entry.name for entry in entries[:3]) or "it is empty"
        raise DpedkitError(
            f"{folder} holds no photos ({found}); readable are {', '.join(PHOTO_SUFFIXES)}."
        )
    return photos


def is_photo_name(path: Path) -> bool:
    """Whether a file's name is that of a readable photo."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Read a photo upright, as `(H, W, 3) uint8` RGB.

    Greyscale, palette, CMYK, RGBA (the alpha channel is dropped) and 16-bit photos (rounded to
    8 bits) are converted.

    Raises
    ------
    PhotoError
        If the file is missing, empty, damaged, cut short, too large, or not a photo.
    """
    return read_photo_and_metadata(path)[0]


def read_photo_and_metadata(path: Path) -> tuple[NDArray[np.uint8], Metadata]:
    """Read a photo as `read_photo` does, with the EXIF and ICC blocks to keep beside it."""
    try:
        if path.stat().st_size == 0:
            raise PhotoError(f"{path} is empty (0 bytes).")
        with warnings.catch_warnings():
            # Pillow warns of odd EXIF blocks and of size; the size is checked below.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                _check_size(path, image.width * image.height)
                metadata = _metadata(image)
                return _to_rgb8(ImageOps.exif_transpose(image)), metadata
    except FileNotFoundError:
        raise PhotoError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise PhotoError(f"{path} is a folder, not a photo.") from None
    except PermissionError:
        raise PhotoError(f"{path} may not be read.") from None
    except Image.DecompressionBombError:
        raise PhotoError(f"{path} claims more than {2 * MAX_PIXELS / 1e6:.0f} MP.") from None
    except UnidentifiedImageError:
        return _read_with_opencv(path), Metadata()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # What the decoders of WebP and AVIF say of a file that ends too soon does not say that.
        vague = "decoder" in str(error)
        reason = "it is cut short" if "truncated" in str(error) else str(error)
        reason = "it cannot be decoded, most likely because it is cut short" if vague else reason
        raise PhotoError(f"{path} is damaged: {reason}.") from None


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of a photo as `read_photo` returns it, from its header alone.

    Raises
    ------
    PhotoError
        If the file is missing or has no readable header.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
                size = image.size
                if image.format == "TIFF":
                    # Depending on its version, Pillow has turned this size already, or not.
                    header = image.tag_v2  # type: ignore[attr-defined]
                    size = header[ExifTags.Base.ImageWidth], header[ExifTags.Base.ImageLength]
                return (size[1], size[0]) if turned else size
    except FileNotFoundError:
        raise PhotoError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise PhotoError(f"{path} is a folder, not a photo.") from None
    except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError) as error:
        raise PhotoError(f"{path} is damaged or not a photo ({error}).") from None


def write_photo(
    path: Path,
    pixels: NDArray[np.uint8],
    metadata: Metadata | None = None,
    *,
    jpeg_quality: int = JPEG_QUALITY,
) -> None:
    """Write `(H, W, 3) uint8` RGB as JPEG, PNG or TIFF by the suffix of `path`, atomically.

    JPEG keeps the full resolution of the colours (4:4:4) from a quality of 90 on, PNG and TIFF are
    lossless. Of an EXIF block that is too long for a JPEG the maker's note is left out, or else all
    of it, with a warning.

    Raises
    ------
    PhotoError
        If the pixels or the metadata cannot be written in that format.
    DpedkitError
        If the suffix is none of these, the disk is full, or the folder may not be written to.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        known = ", ".join(_WRITERS)
        raise DpedkitError(f"{path}: photos are written as {known}, not '{path.suffix}'.")
    metadata = metadata or Metadata()
    options: dict[str, object] = {}
    if writer == "JPEG":
        options = {"quality": jpeg_quality, "subsampling": 0 if jpeg_quality >= 90 else 2}
    elif writer == "PNG":
        options = {"compress_level": _PNG_LEVEL}
    elif writer == "TIFF":
        # Pillow cannot write the nested parts of an EXIF block into a compressed TIFF.
        options = {} if metadata.exif else {"compression": "tiff_adobe_deflate"}
    exif = _fit_into_jpeg(path, metadata.exif) if writer == "JPEG" else metadata.exif
    if exif:
        options["exif"] = exif
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    try:
        with complete_or_absent(path) as part, part.open("wb") as file:
            Image.fromarray(np.ascontiguousarray(pixels)).save(file, format=writer, **options)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, struct.error) as error:
        raise PhotoError(f"{path} could not be written as {writer}: {error}.") from error


def _fit_into_jpeg(path: Path, block: bytes) -> bytes:
    """As much of an EXIF block as a JPEG can hold."""
    if len(block) <= _JPEG_EXIF_LIMIT:
        return block
    exif = Image.Exif()
    exif.load(block)
    exif.get_ifd(ExifTags.IFD.Exif).pop(_MAKER_NOTE, None)
    without_note: bytes = exif.tobytes()
    if len(without_note) <= _JPEG_EXIF_LIMIT:
        console.warn(
            f"{path}: the maker's note in its EXIF block is too long for a JPEG, so left out."
        )
        return without_note
    console.warn(f"{path}: its EXIF block is too long for a JPEG, so left out.")
    return b""


def _check_size(path: Path, pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise PhotoError(f"{path} has {pixels / 1e6:.0f} MP; the limit is {MAX_PIXELS / 1e6:.0f}.")


def _to_rgb8(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        grey = np.asarray(image, dtype=np.float64)
        peak = 1.0 if image.mode == "F" and grey.max(initial=0) <= 1 else 65535.0
        levels = np.clip(grey / peak * 255 + 0.5, 0, 255).astype(np.uint8)
        return np.repeat(levels[:, :, None], 3, axis=2)
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        # Converting drops the alpha channel and leaves the colours below it as they are.
        image = image.convert("RGBA")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _metadata(image: Image.Image) -> Metadata:
    icc = image.info.get("icc_profile") or b""
    if image.mode in ("CMYK", "L", "LA", "1") or image.mode.startswith("I"):
        icc = b""  # the profile describes other channels than the RGB ones handed on
    return Metadata(exif=_descriptive_exif(image.getexif()), icc=icc)


def _descriptive_exif(found: Image.Exif) -> bytes:
    """The EXIF block without what describes the old file: orientation, layout, thumbnail."""
    kept = Image.Exif()
    try:
        for tag, value in found.items():
            if tag not in _LAYOUT_TAGS and tag not in tuple(ExifTags.IFD):
                kept[tag] = value
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            kept.get_ifd(part).update(found.get_ifd(part))
        return kept.tobytes() if _holds_something(kept) else b""
    except (struct.error, ValueError, TypeError, KeyError, OverflowError, SyntaxError, OSError):
        return b""  # a damaged block of notes must not cost the photo


def _holds_something(exif: Image.Exif) -> bool:
    parts = (exif.get_ifd(part) for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
    return len(exif) > 0 or any(parts)


def _read_with_opencv(path: Path) -> NDArray[np.uint8]:
    """Formats that Pillow does not know, above all TIFF with 16 bits a channel."""
    import cv2

    pixels = None
    if path.suffix.lower() in (".tif", ".tiff"):
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise PhotoError(f"{path} is not a photo, or only a part of one, whatever its name says.")
    _check_size(path, pixels.shape[0] * pixels.shape[1])
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise PhotoError(f"{path} has {pixels.dtype} pixels; save it with 8 or 16 bits.")
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, 2::-1])
