"""Develop camera RAW files with LibRaw, always with the same neutral settings."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from dpedkit.images.decoding import StoredPhoto
from dpedkit.images.limits import PhotoLimits
from dpedkit.images.listing import missing_library
from dpedkit.images.metadata import DAMAGED, camera_name, descriptive_exif, quiet
from dpedkit.images.orientation import UPRIGHT, upright_size

# As the camera saw it: its own white balance, no automatic brightening, the curve of sRGB, no
# noise reduction. What a network learns must not depend on the content of each photo.
_DEVELOPMENT: dict[str, Any] = {
    "use_camera_wb": True,
    "no_auto_bright": True,
    "gamma": (2.4, 12.92),
    "output_bps": 8,
}
_DEVELOPED = "AHD, no auto-brightening, clipped highlights, sRGB"
# EXIF orientation by LibRaw's: of its three bits, 1 mirrors columns, 2 rows, and 4 transposes.
_ORIENTATIONS = {0: UPRIGHT, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
_PIXEL_BYTES = 8  # four channels of 16 bits, while LibRaw develops
_BOX_HEAD = 8  # bytes: length and kind
_BOXES_READ = 4096  # at most; a CR3 file has a few dozen
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")


def develop(path: Path, limits: PhotoLimits, *, half_size: bool = False) -> StoredPhoto:
    """Develop a camera RAW file to 8-bit sRGB, not yet turned upright.

    With `half_size` each square of the mosaic becomes one pixel, in a fraction of the time.

    Raises
    ------
    PhotoError
        If it is larger than the limits allow.
    DpedkitError
        If rawpy is not installed.
    Exception
        Of several kinds, from LibRaw, for a file that is damaged or of a kind it does not know.
    """
    rawpy = _import_rawpy(path)
    with rawpy.imread(str(path)) as raw:
        limits.check_pixels(path, raw.sizes.iwidth, raw.sizes.iheight)
        limits.check_decoded(path, raw.sizes.iwidth, raw.sizes.iheight, _PIXEL_BYTES)
        # Asked for before LibRaw is told not to turn the photo itself.
        orientation = _ORIENTATIONS.get(raw.sizes.flip, UPRIGHT)
        balance = "as-shot" if min(raw.camera_whitebalance[:3]) > 0 else "daylight"
        pixels = raw.postprocess(
            rawpy.Params(
                demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD,
                output_color=rawpy.ColorSpace.sRGB,
                highlight_mode=rawpy.HighlightMode.Clip,
                user_flip=0,
                half_size=half_size,
                **_DEVELOPMENT,
            )
        )
    version = ".".join(map(str, rawpy.libraw_version))
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    exif = read_raw_exif(path)
    return StoredPhoto(
        image,
        orientation,
        exif=descriptive_exif(exif, of_raw=True),
        camera=camera_name(exif),
        conversion=f"developed by LibRaw {version}: {balance} white balance, {_DEVELOPED}",
    )


def raw_size(path: Path) -> tuple[int, int]:
    """Width and height of a camera RAW file when it is developed and upright.

    Raises
    ------
    DpedkitError, Exception
        As `develop`.
    """
    with _import_rawpy(path).imread(str(path)) as raw:
        sizes = raw.sizes
    orientation = _ORIENTATIONS.get(sizes.flip, UPRIGHT)
    return upright_size(sizes.iwidth, sizes.iheight, orientation)


def read_raw_exif(path: Path) -> Image.Exif:
    """The EXIF data of a camera RAW file; empty where there are none that can be read."""
    exif = Image.Exif()
    try:
        if path.suffix.lower() == ".cr3":
            return _cr3_exif(path)
        with path.open("rb") as file, quiet:
            exif.load_from_fp(file)
            for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                exif.get_ifd(part)  # read now, while the file is open
    except DAMAGED:
        return Image.Exif()
    return exif


def _cr3_exif(path: Path) -> Image.Exif:
    """EXIF data of a CR3: TIFF blocks in Canon's own box of the file's `moov` box."""
    with path.open("rb") as file:
        content = file.read(1 << 20)  # the boxes before the images
    moov = _boxes(content).get(b"moov", b"")
    canon = _boxes(moov).get(b"uuid", b"")
    if not canon.startswith(_CANON_UUID):
        return Image.Exif()
    blocks = _boxes(canon[len(_CANON_UUID) :])
    exif = Image.Exif()
    exif.load(blocks.get(b"CMT1", b""))
    for name, part in ((b"CMT2", ExifTags.IFD.Exif), (b"CMT4", ExifTags.IFD.GPSInfo)):
        if name in blocks:
            details = Image.Exif()
            details.load(blocks[name])
            exif.get_ifd(part).update(dict(details))
    return exif


def _boxes(content: bytes) -> dict[bytes, bytes]:
    """The first box of each kind in a sequence of ISO base media boxes (ISO/IEC 14496-12)."""
    found: dict[bytes, bytes] = {}
    start = 0
    for _ in range(_BOXES_READ):
        if start + _BOX_HEAD > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, start)
        if length < _BOX_HEAD:  # to the end of the file, or longer than 4 GB: the images
            break
        found.setdefault(kind, content[start + _BOX_HEAD : start + length])
        start += length
    return found


def _import_rawpy(path: Path) -> Any:
    try:
        import rawpy
    except ImportError:
        raise missing_library(path) from None
    return rawpy
