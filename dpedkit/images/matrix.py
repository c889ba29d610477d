"""Display profiles - three curves and a matrix - applied four times as fast as LittleCMS does.

The photos of most phones have such a profile. `profiles.py` compares what this makes of a lattice
of colours with LittleCMS, and leaves to it whatever comes out differently.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

# Linear sRGB to XYZ at D50, the white of profiles (IEC 61966-2-1, Bradford-adapted).
_SRGB_TO_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_LEVELS = (
    4096  # of linear light: fine enough for the darkest 8-bit levels, small enough for a cache
)
_BLOCK_PIXELS = 1 << 17  # whose intermediate values stay in a processor's cache
_HEAD, _TAG = 128, 12  # bytes
_ABSURD = 100.0  # times white; no curve reaches it
# Parameters of the kinds of parametric curve (ICC.1:2022, table 68): g, a, b, c, d, e, f.
_PARAMETERS = (1, 3, 4, 5, 7)


@dataclass(frozen=True)
class MatrixProfile:
    """A profile that is applied channel by channel, then by a matrix.

    Attributes
    ----------
    curves : (1, 256, 3) array of float32
        Linear light of every level of each channel.
    matrix : (3, 3) array of float32
        Linear light of the profile to that of sRGB, in `_LEVELS`.
    """

    curves: NDArray[np.float32]
    matrix: NDArray[np.float32]

    @classmethod
    def parse(cls, icc: bytes) -> Self | None:
        """Read a profile; None if it is of another kind, or damaged."""
        try:
            tags = _tags(icc)
            colourants = [_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
            with np.errstate(all="ignore"):  # absurd parameters make absurd curves
                curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")], -1)
        except (KeyError, IndexError, ValueError, ZeroDivisionError, struct.error):
            return None
        if not (np.abs(curves) <= _ABSURD).all():
            return None
        matrix = np.linalg.solve(_SRGB_TO_XYZ, np.stack(colourants, axis=1))
        return cls(curves[None].astype(np.float32), ((_LEVELS - 1) * matrix).astype(np.float32))

    def to_srgb(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Convert (H, W, 3) uint8 RGB pixels of the profile to sRGB, block by block."""
        import cv2

        converted = np.empty_like(pixels)
        rows = max(1, _BLOCK_PIXELS // pixels.shape[1])
        for top in range(0, len(pixels), rows):
            light = cv2.transform(cv2.LUT(pixels[top : top + rows], self.curves), self.matrix)
            np.clip(light, 0, _LEVELS - 1, out=light)
            np.rint(light, out=light)
            np.take(_ENCODED, light.astype(np.uint16), out=converted[top : top + rows], mode="clip")
        return converted


def _encoded() -> NDArray[np.uint8]:
    """The 8-bit sRGB level of each level of linear light (IEC 61966-2-1)."""
    light = np.linspace(0, 1, _LEVELS)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * curved).astype(np.uint8)


_ENCODED = _encoded()


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """The content of each tag of a profile (ICC.1:2022, section 7.3)."""
    (count,) = struct.unpack_from(">I", icc, _HEAD)
    tags = {}
    for at in range(_HEAD + 4, min(_HEAD + 4 + _TAG * count, len(icc)), _TAG):
        name, offset, size = struct.unpack_from(">4sII", icc, at)
        tags[name] = icc[offset : offset + size]
    return tags


def _xyz(tag: bytes) -> NDArray[np.float64]:
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536


def _curve(tag: bytes) -> NDArray[np.float64]:
    """Linear light of the levels 0 to 255 (ICC.1:2022, sections 10.6 and 10.18)."""
    x = np.linspace(0, 1, 256)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        values = np.frombuffer(tag, ">u2", count, 12)
        if count == 1:
            return x ** (values[0] / 256)
        return np.interp(x, np.linspace(0, 1, count), values / 65535)
    if tag[:4] != b"para":
        raise ValueError("no curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    given = [value / 65536 for value in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)]
    return _parametric(x, kind, given)


def _parametric(x: NDArray[np.float64], kind: int, given: list[float]) -> NDArray[np.float64]:
    g, a, b, c, d, e, f = [*given, *[0.0] * (7 - len(given))]
    if kind == 0:
        return x**g
    if kind in (1, 2):  # c is the value below the kink here, and added above it
        c, d, e, f = 0.0, -b / a, c, c
    return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
