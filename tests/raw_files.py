"""Camera RAW files written byte by byte: TIFF with a mosaic of one colour a pixel."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10
_BYTES = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, SRATIONAL: 8}
_CODES = {BYTE: "B", SHORT: "H", LONG: "I"}
_CFA, _NO_COMPRESSION, _D65 = 32803, 1, 21
# From XYZ to linear sRGB (IEC 61966-2-1): a camera that sees the world in sRGB.
_XYZ_TO_SRGB = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)

Tag = tuple[int, int, Sequence]


def mosaic_of(photo: np.ndarray) -> np.ndarray:
    """What a sensor behind red, green, green and blue filters records of an sRGB photo, uint16."""
    share = photo / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    mosaic = linear[:, :, 1].copy()
    mosaic[0::2, 0::2] = linear[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = linear[1::2, 1::2, 2]
    return np.round(mosaic * 65535).astype(np.uint16)


def write_dng(path: Path, mosaic: np.ndarray, *, orientation: int = 1) -> None:
    """An uncompressed DNG by a camera whose colours are those of sRGB."""
    fractions = [(round(value * 10_000), 10_000) for value in _XYZ_TO_SRGB]
    dng_tags: list[Tag] = [
        (50706, BYTE, (1, 4, 0, 0)),  # DNGVersion
        (50708, ASCII, "Maker X1"),  # UniqueCameraModel
        (50717, LONG, (65535,)),  # WhiteLevel
        (50721, SRATIONAL, fractions),  # ColorMatrix1
        (50728, RATIONAL, ((1, 1),) * 3),  # AsShotNeutral
        (50778, SHORT, (_D65,)),  # CalibrationIlluminant1
    ]
    _write(path, mosaic, "Maker", "X1", orientation, dng_tags)


def write_nef(path: Path, mosaic: np.ndarray, *, orientation: int = 1) -> None:
    """An uncompressed NEF; LibRaw knows the colours of this camera by its name."""
    _write(path, mosaic, "NIKON CORPORATION", "NIKON D5500", orientation, [])


def write_cr3_head(path: Path, taken: str) -> None:
    """The boxes at the beginning of a CR3, with EXIF data but without a picture."""
    directory = _tiff([(271, ASCII, "Canon"), (272, ASCII, "Canon EOS R5")])
    details = _tiff([(36867, ASCII, taken)])
    uuid = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    blocks = _box(b"CNCV", b"CanonCR3") + _box(b"CMT1", directory) + _box(b"CMT2", details)
    path.write_bytes(
        _box(b"ftyp", b"crx \0\0\0\1crx isom") + _box(b"moov", _box(b"uuid", uuid + blocks))
    )


def _write(
    path: Path, mosaic: np.ndarray, make: str, model: str, orientation: int, more: list[Tag]
) -> None:
    height, width = mosaic.shape

    def tags(exif_at: int, pixels_at: int) -> list[Tag]:
        return [
            (254, LONG, (0,)), (256, LONG, (width,)), (257, LONG, (height,)), (258, SHORT, (16,)),
            (259, SHORT, (_NO_COMPRESSION,)), (262, SHORT, (_CFA,)), (271, ASCII, make),
            (272, ASCII, model), (273, LONG, (pixels_at,)), (274, SHORT, (orientation,)),
            (277, SHORT, (1,)), (278, LONG, (height,)), (279, LONG, (mosaic.nbytes,)),
            (33421, SHORT, (2, 2)), (33422, BYTE, (0, 1, 1, 2)), (34665, LONG, (exif_at,)), *more,
        ]  # fmt: skip

    details = [(36867, ASCII, "2026:05:01 14:00:00"), (37521, ASCII, "25")]
    exif_at = 8 + len(_directory(tags(0, 0), 8))
    exif = _directory(details, exif_at)
    first = _directory(tags(exif_at, exif_at + len(exif)), 8)
    path.write_bytes(_head() + first + exif + mosaic.astype("<u2").tobytes())


def _tiff(tags: list[Tag]) -> bytes:
    return _head() + _directory(tags, 8)


def _head() -> bytes:
    return struct.pack("<2sHI", b"II", 42, 8)


def _directory(tags: list[Tag], at: int) -> bytes:
    """An image file directory that begins at an offset, values too long for it behind it."""
    body, behind = struct.pack("<H", len(tags)), b""
    behind_at = at + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        data = _encoded(kind, values)
        count = len(data) // _BYTES[kind]
        place = data.ljust(4, b"\0")
        if len(data) > 4:
            place = struct.pack("<I", behind_at + len(behind))
            behind += data + b"\0" * (len(data) % 2)
        body += struct.pack("<HHI", tag, kind, count) + place
    return body + struct.pack("<I", 0) + behind


def _encoded(kind: int, values: Sequence) -> bytes:
    if kind == ASCII:
        return str(values).encode() + b"\0"
    if kind in (RATIONAL, SRATIONAL):
        return b"".join(struct.pack("<iI", *value) for value in values)
    return struct.pack(f"<{len(values)}{_CODES[kind]}", *values)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
