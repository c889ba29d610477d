"""Colour profiles: every photo becomes sRGB, or training would learn the profile's difference."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# Pillow's name of the channels that a profile describes, by the profile's own (ICC.1:2022, 7.2.6).
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_PROBE_STEPS = 9  # levels a channel at which a profile is compared with sRGB
_SAME = 1  # of 255: what rounding alone can do
_CACHED = 16  # profiles; a folder of photos rarely has more than one


@dataclass(frozen=True)
class _Profile:
    """A profile as it is used: `transform` is None where it is that of sRGB already."""

    name: str
    transform: Any


def to_srgb(image: Image.Image, icc: bytes) -> tuple[Image.Image, str]:
    """Convert an image with a colour profile to sRGB, relative colorimetric.

    Parameters
    ----------
    image : Image
        Of mode RGB, L or CMYK; others, and those whose profile is damaged or describes other
        channels, are handed back as they are.
    icc : bytes
        The embedded ICC profile, or empty.

    Returns
    -------
    image : Image
        Of mode RGB if it was converted; `image` itself, maybe changed in place, otherwise.
    name : str
        Of the profile that was converted from; empty where nothing was to be done.
    """
    profile = _profile(icc, image.mode) if icc else None
    if profile is None or profile.transform is None:
        return image, ""
    if image.mode == "RGB":
        ImageCms.applyTransform(image, profile.transform, inPlace=True)
        return image, profile.name
    converted = ImageCms.applyTransform(image, profile.transform)
    assert converted is not None
    return converted, profile.name


def is_srgb(icc: bytes, mode: str) -> bool:
    """Whether an ICC profile is a sound one for this mode, and no other than that of sRGB."""
    profile = _profile(icc, mode) if icc else None
    return profile is not None and profile.transform is None


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
        name = ImageCms.getProfileDescription(profile).strip()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return _Profile(
        name or "an unnamed profile", None if _is_identity(transform, mode) else transform
    )


def _is_identity(transform: Any, mode: str) -> bool:
    """Whether a transform leaves a lattice of colours as it is, but for rounding."""
    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, _PROBE_STEPS).round().astype(np.uint8)
    if mode == "L":
        before = np.repeat(levels[:, None, None], 3, axis=2)
        probe = Image.fromarray(levels[:, None])
    else:
        before = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        probe = Image.fromarray(before)
    converted = ImageCms.applyTransform(probe, transform)
    difference = np.asarray(converted).astype(int) - before
    return int(np.abs(difference).max()) <= _SAME
