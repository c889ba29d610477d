"""Decode photos of every format but camera RAW: the pixels as stored, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from dpedkit.core.errors import PhotoError
from dpedkit.core.process import SharedChange
from dpedkit.images.jpeg import refuse_incomplete
from dpedkit.images.limits import PhotoLimits
from dpedkit.images.listing import missing_library
from dpedkit.images.metadata import camera_name, descriptive_exif, exif_of, quiet
from dpedkit.images.orientation import UPRIGHT

# Pillow knows many more, among them some that start other programs.
_FORMATS: tuple[str, ...] = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP")
_CONTAINED: tuple[str, ...] = ("HEIF", "AVIF")
# What a file in the container of HEIF calls itself (ISO/IEC 23008-12); 'mif1' can be AVIF, too.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PIXEL_BYTES = 4  # in which Pillow keeps colours
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, table 3


@dataclass(frozen=True)
class StoredPhoto:
    """A decoded photo, before orientation and colour profile are applied.

    Attributes
    ----------
    image : Image
        Its pixels as they stand in the file, of any mode.
    orientation : int
        What is left to be done: `UPRIGHT` where the decoder has turned the pixels itself.
    icc, exif : bytes
        The embedded profile, and the EXIF block to keep; empty where there is none.
    camera : str
        Make and model.
    conversion : str
        How the pixels were made where that is more than decoding.
    """

    image: Image.Image
    orientation: int = UPRIGHT
    icc: bytes = b""
    exif: bytes = b""
    camera: str = ""
    conversion: str = ""


def decode(path: Path, limits: PhotoLimits, side: int | None = None) -> StoredPhoto:
    """Decode a photo with Pillow, or, where Pillow does not know the kind of TIFF, with OpenCV.

    Parameters
    ----------
    path : Path
    limits : PhotoLimits
    side : int, optional
        Reduce the photo to at most so many px in width and height. A JPEG is decoded at a reduced
        size then, in a fraction of the time.

    Raises
    ------
    PhotoError
        If it is larger than the limits allow, or not a photo.
    Exception
        Of many kinds, from the libraries, for a damaged file.
    """
    try:
        with opened(path) as image:
            limits.check_pixels(path, *image.size)
            limits.check_decoded(path, *image.size, PIXEL_BYTES)
            if side is not None and not image.mode.startswith("I;16"):  # 16-bit grey
                image.thumbnail((side, side))
            image.load()
            if side is None and image.format in ("JPEG", "MPO"):
                refuse_incomplete(path, image)
            # TIFF images are turned while they are loaded: ask for what is left to do afterwards.
            exif = exif_of(image)
            return StoredPhoto(
                image,
                exif.get(ExifTags.Base.Orientation, UPRIGHT),
                image.info.get("icc_profile") or b"",
                descriptive_exif(exif),
                camera_name(exif),
            )
    except UnidentifiedImageError:
        if not _begins_like_tiff(path):
            raise
        return _decode_with_opencv(path, limits)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A photo opened by Pillow, of which only the header is read yet.

    The content decides which format it is, not the name.
    """
    formats = _FORMATS
    if _is_heif(path):
        _register_heif(path)
        formats = _CONTAINED
    with quiet, _any_size, Image.open(path, formats=formats) as image:
        _refuse_hdr(path, image)
        yield image


@contextmanager
def _without_limit() -> Iterator[None]:
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


# Pillow's own limit is lower than phones have pixels; that of dpedkit is checked instead.
_any_size = SharedChange(_without_limit)


def _is_heif(path: Path) -> bool:
    """Whether a file begins as one that pillow-heif may have to decode."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _register_heif(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise missing_library(path) from None
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def _refuse_hdr(path: Path, image: Image.Image) -> None:
    """Pixels of an HDR curve would come out far too dark, as if they were sRGB."""
    colour = image.info.get("nclx_profile") or {}
    curve = _HDR_TRANSFERS.get(colour.get("transfer_characteristics", 0))
    if curve and not image.info.get("icc_profile"):
        raise PhotoError(
            f"{path} is an HDR photo ({curve}); export it in standard dynamic range (SDR)."
        )


def _begins_like_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _TIFF_MAGIC


def _decode_with_opencv(path: Path, limits: PhotoLimits) -> StoredPhoto:
    """TIFF photos that Pillow does not know, such as those with 16 bits a channel and alpha.

    OpenCV applies the orientation of TIFF photos itself.
    """
    import cv2

    header = Image.Exif()
    with path.open("rb") as file, quiet:
        header.load_from_fp(file)
        width, height = (
            header.get(tag, 0) for tag in (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength)
        )
        limits.check_pixels(path, width, height)
        depth = header.get(ExifTags.Base.BitsPerSample, 8)
        bits = sum(depth) if isinstance(depth, tuple) else depth
        limits.check_decoded(path, width, height, -(-bits // 8))
        icc = header.get(ExifTags.Base.InterColorProfile, b"")
        exif, camera = descriptive_exif(header), camera_name(header)
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise PhotoError(f"{path} is damaged, or is a kind of TIFF that is not supported.")
    if pixels.dtype == np.uint16:
        pixels = _to_8_bits(pixels)
    if pixels.dtype != np.uint8:
        raise PhotoError(f"{path} has {pixels.dtype} pixels; save it with 8 or 16 bits.")
    rgb = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, 2::-1])
    return StoredPhoto(Image.fromarray(rgb), UPRIGHT, icc, exif, camera)


def _to_8_bits(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Levels of 16 bits rounded to 8, row by row: the intermediate values take twice the memory."""
    levels = np.empty(pixels.shape, np.uint8)
    for row, deep in zip(levels, pixels, strict=True):
        row[:] = (deep.astype(np.uint32) + 128) // 257
    return levels
