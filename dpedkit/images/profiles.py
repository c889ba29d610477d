"""Colour profiles: every photo becomes sRGB, or training would learn the profile's difference."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dpedkit.images.matrix import MatrixProfile

# Pillow's name of the channels that a profile describes, by the profile's own (ICC.1:2022, 7.2.6).
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_PROBE_STEPS = 17  # levels a channel at which conversions are compared
_SAME = 1  # of 255: what rounding alone can do
_DATE = slice(24, 36)  # in the header of a profile (ICC.1:2022, 7.2.8)
_CACHED = 16  # profiles; a folder of photos rarely has more than one


@dataclass(frozen=True)
class _Profile:
    """A profile as it is used.

    Attributes
    ----------
    name : str
    transform : object or None
        LittleCMS's conversion to sRGB; None where the profile is that of sRGB already.
    matrix : MatrixProfile or None
        The same, and faster, where the profile allows it.
    """

    name: str
    transform: Any
    matrix: MatrixProfile | None


def to_srgb(image: Image.Image, icc: bytes) -> tuple[NDArray[np.uint8], str]:
    """The pixels of an image in sRGB, converted from its profile relative colorimetrically.

    Parameters
    ----------
    image : Image
        Of mode RGB, L or CMYK.
    icc : bytes
        The embedded ICC profile, or empty. One that is damaged or describes other channels is left
        aside.

    Returns
    -------
    pixels : (H, W, 3) array of uint8
    name : str
        Of the profile that was converted from; empty where nothing was to be done.
    """
    profile = _profile(icc, image.mode) if icc else None
    if profile is None or profile.transform is None:
        return _pixels(image), ""
    if profile.matrix is not None:
        return profile.matrix.to_srgb(_pixels(image)), profile.name
    return _pixels(_apply(image, profile.transform)), profile.name


def is_srgb(icc: bytes, mode: str) -> bool:
    """Whether an ICC profile is a sound one for this mode, and no other than that of sRGB."""
    profile = _profile(icc, mode) if icc else None
    return profile is not None and profile.transform is None


@cache
def srgb_profile() -> bytes:
    """An ICC profile of sRGB, always the same bytes."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[_DATE] = bytes(12)  # when it was made
    return bytes(made)


@lru_cache(maxsize=_CACHED)
def _profile(icc: bytes, mode: str) -> _Profile | None:
    """The profile ready for use; None if it is damaged or describes other channels."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if _MODES.get(profile.profile.xcolor_space.strip()) != mode:
            return None
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        name = ImageCms.getProfileDescription(profile).strip() or "an unnamed profile"
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if mode == "CMYK":
        return _Profile(name, transform, None)
    probe = _probe(mode)
    wanted = _pixels(_apply(probe, transform))
    if _alike(_pixels(probe), wanted):
        return _Profile(name, None, None)
    matrix = MatrixProfile.parse(icc) if mode == "RGB" else None
    if matrix is not None and not _alike(matrix.to_srgb(_pixels(probe)), wanted):
        matrix = None
    return _Profile(name, transform, matrix)


def _probe(mode: str) -> Image.Image:
    """A lattice of colours, or every level of grey."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, _PROBE_STEPS).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    return Image.fromarray(lattice.reshape(_PROBE_STEPS, -1, 3))


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    return int(np.abs(one.astype(int) - other).max()) <= _SAME


def _apply(image: Image.Image, transform: Any) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
