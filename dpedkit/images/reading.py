"""Read photos of every format: decoded, converted to sRGB, turned upright, 8 bits per channel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.core.regular import would_wait
from dpedkit.images.decoding import StoredPhoto, decode, opened
from dpedkit.images.limits import PhotoLimits
from dpedkit.images.listing import RAW_SUFFIXES
from dpedkit.images.metadata import CONVERTED, Metadata, header_exif
from dpedkit.images.orientation import UPRIGHT, upright, upright_size
from dpedkit.images.profiles import is_srgb, srgb_profile, to_srgb
from dpedkit.images.raw import develop, raw_size

_DEFAULT_LIMITS = PhotoLimits()
# How the libraries say it: Pillow, libheif, LibRaw.
_CUT_SHORT = ("truncated", "unexpected end of file", "outside of file", "input/output error")


def read_photo(path: str | Path, limits: PhotoLimits = _DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Read a photo upright, as `(H, W, 3) uint8` sRGB.

    Greyscale, palette, CMYK, RGBA (the alpha channel is dropped), 16-bit photos (reduced to 8 bits)
    and photos with a colour profile are converted; camera RAW files are developed.

    Parameters
    ----------
    path : str or Path
    limits : PhotoLimits, optional
        How large the photo may be; checked before it is decoded.

    Raises
    ------
    PhotoError
        If the file is missing, empty, damaged, cut short, too large, or not a photo.
    DpedkitError
        If it needs a library that is not installed.
    """
    return read_photo_and_metadata(path, limits)[0]


def read_photo_and_metadata(
    path: str | Path, limits: PhotoLimits = _DEFAULT_LIMITS
) -> tuple[NDArray[np.uint8], Metadata]:
    """Read a photo as `read_photo` does, together with its metadata.

    Raises
    ------
    PhotoError, DpedkitError
        As `read_photo`.
    """
    path = Path(path)
    with _explained(path):
        limits.check_file(path, path.stat().st_size)
        is_raw = path.suffix.lower() in RAW_SUFFIXES
        stored = develop(path, limits) if is_raw else decode(path, limits)
        pixels, profile = _to_rgb8(stored)
        metadata = Metadata(
            stored.exif,
            srgb_profile() if profile else _srgb_icc(stored),
            stored.camera,
            f"{CONVERTED} {profile} to sRGB" if profile else stored.conversion,
        )
        return upright(pixels, stored.orientation), metadata


def read_thumbnail(
    path: str | Path, side: int, limits: PhotoLimits = _DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Read a photo as `read_photo` does, reduced to at most `side` px in width and height.

    Raises
    ------
    PhotoError, DpedkitError
        As `read_photo`.
    """
    path = Path(path)
    with _explained(path):
        limits.check_file(path, path.stat().st_size)
        if path.suffix.lower() in RAW_SUFFIXES:
            stored = develop(path, limits, half_size=True)
            stored.image.thumbnail((side, side))
        else:
            stored = decode(path, limits, side)
        pixels, _ = _to_rgb8(stored)
        if max(pixels.shape) > side:  # of a kind that Pillow does not reduce
            image = Image.fromarray(pixels)
            image.thumbnail((side, side))
            pixels = np.asarray(image)
        return upright(pixels, stored.orientation)


def photo_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a photo as `read_photo` returns it, from its header alone.

    Raises
    ------
    PhotoError
        If the file is missing or has no readable header.
    """
    path = Path(path)
    with _explained(path):
        if path.suffix.lower() in RAW_SUFFIXES:
            return raw_size(path)
        with opened(path) as image:
            size = image.size
            if image.format == "TIFF":
                # Depending on its version, Pillow has turned this size already, or not.
                header = image.tag_v2  # type: ignore[attr-defined]
                size = header[ExifTags.Base.ImageWidth], header[ExifTags.Base.ImageLength]
            return upright_size(
                *size, header_exif(path, image).get(ExifTags.Base.Orientation, UPRIGHT)
            )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Convert whatever the libraries raise for a bad file into a `PhotoError`."""
    if would_wait(path):
        raise PhotoError(f"{path} is not a regular file.")
    try:
        yield
    except DpedkitError:
        raise
    except FileNotFoundError:
        raise PhotoError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise PhotoError(f"{path} is a folder, not a photo.") from None
    except PermissionError:
        raise PhotoError(f"{path} cannot be read: permission denied.") from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path} is not a photo, or only part of one, despite its name.") from None
    except MemoryError:
        raise PhotoError(f"{path} needs more memory than is available.") from None
    except Exception as error:  # decoders raise anything for a file that is damaged cleverly
        raise PhotoError(f"{path} is damaged: {_reason(error)}; copy it again.") from None


def _reason(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    said = first.decode(errors="replace") if isinstance(first, bytes) else str(error)
    said = " ".join(said.split()) or type(error).__name__
    if any(words in said.lower() for words in _CUT_SHORT):
        return "it is cut short"
    if "decoder" in said:
        # What the decoders of WebP and AVIF say of a file that ends too soon does not say that.
        return "it cannot be decoded, most likely because it is cut short"
    if isinstance(error, KeyError):
        return "its header is incomplete"
    return said.rstrip(".")


def _to_rgb8(stored: StoredPhoto) -> tuple[NDArray[np.uint8], str]:
    """Pixels with three channels of 8 bits in sRGB, and the name of the profile they had."""
    image = stored.image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _deep_grey_to_rgb8(image), ""
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        # Converting drops the alpha channel and leaves the colours below it as they are.
        image = image.convert("RGBA").convert("RGB")
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    return to_srgb(image, stored.icc)


def _srgb_icc(stored: StoredPhoto) -> bytes:
    """The profile that the photo has, if it is one of sRGB."""
    return stored.icc if _has_colours(stored.image) and is_srgb(stored.icc, "RGB") else b""


def _has_colours(image: Image.Image) -> bool:
    """Whether a profile of RGB colours can be that of the image."""
    return image.mode not in ("CMYK", "L", "LA", "La", "1", "F") and image.mode[0] != "I"


def _deep_grey_to_rgb8(image: Image.Image) -> NDArray[np.uint8]:
    grey = np.asarray(image)
    peak = 1.0 if image.mode == "F" and grey.max(initial=0) <= 1 else 65535.0
    rgb = np.empty((*grey.shape, 3), np.uint8)
    for levels, deep in zip(rgb, grey, strict=True):  # row by row: floats take eight bytes each
        levels[:] = np.clip(deep / peak * 255 + 0.5, 0, 255).astype(np.uint8)[:, None]
    return rgb
