"""PSNR, SSIM, MS-SSIM and CIEDE2000 of whole photos, of which not every pixel counts.

Where two aligned photos do not show the same, their difference says nothing about a network. Such
pixels take no part: a window of SSIM takes its statistics from the pixels that count, and itself
counts as much as the pixel in its centre. If all pixels count, the values are those of
`dpedkit.metrics`, which is for patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.metrics import SCALE_WEIGHTS

Levels = NDArray[np.uint8]  # (H, W, 3), sRGB
Mask = NDArray[np.bool_]  # (H, W), true where a pixel counts
Plane = NDArray[Any]  # (H, W) float32

# The window has its usual size only if the coarsest of the five scales is not smaller than it.
_WINDOW, _SIGMA = 11, 1.5  # px
MIN_SIDE = _WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)
_C1, _C2 = 0.01**2, 0.03**2
_ROWS_AT_ONCE = 256
_COLOURS_AT_ONCE = 1 << 18
# sRGB (IEC 61966-2-1): light for each level, and from RGB to XYZ.
_VALUES = np.arange(256) / 255
_LINEAR = np.where(_VALUES <= 0.04045, _VALUES / 12.92, ((_VALUES + 0.055) / 1.055) ** 2.4)
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_BARELY = 1e-6  # weight below which a window has no statistics


@dataclass(frozen=True)
class PhotoScores:
    """How close a photo is to the DSLR's.

    Attributes
    ----------
    psnr : float or None
        dB, of the mean squared error; None if there is none.
    ssim, ms_ssim : float
        With a Gaussian window of 11 taps and sigma 1.5 at every scale.
    ciede2000 : float
        Mean colour difference of the pixels, by CIEDE2000; 1 is about what can just be seen.
    """

    psnr: float | None
    ssim: float
    ms_ssim: float
    ciede2000: float


def score_photo(photo: Levels, dslr: Levels, counts: Mask) -> PhotoScores:
    """Compare two photos where pixels count.

    Parameters
    ----------
    photo, dslr : (H, W, 3) uint8
        Both sides at least `MIN_SIDE` px.
    counts : (H, W) bool
        At least one of them true.

    Raises
    ------
    ValueError
        If the photos are too small or differ in shape, or no pixel counts.
    """
    if photo.shape != dslr.shape or counts.shape != photo.shape[:2]:
        raise ValueError(f"shapes differ: {photo.shape}, {dslr.shape} and {counts.shape}")
    if min(counts.shape) < MIN_SIDE:
        raise ValueError(f"MS-SSIM of photos needs {MIN_SIDE} px on each side: {counts.shape}")
    if not counts.any():
        raise ValueError("no pixel counts")
    error = _mean_squared_error(photo, dslr, counts)
    ssim, ms_ssim = _similarities(photo, dslr, counts)
    difference = float(ciede2000(photo[counts], dslr[counts]).mean(dtype=np.float64))
    psnr = -10 * math.log10(error) if error > 0 else None
    return PhotoScores(psnr, ssim, ms_ssim, difference)


def _mean_squared_error(photo: Levels, dslr: Levels, counts: Mask) -> float:
    total = 0
    for top in range(0, len(photo), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        own = counts[rows]
        apart = photo[rows][own].astype(np.int32) - dslr[rows][own]
        total += int(np.square(apart).sum(dtype=np.int64))
    return total / (int(counts.sum()) * 3 * 255**2)


@dataclass(frozen=True)
class _Scale:
    """How much the pixels and windows of one scale count, which is the same for every channel.

    Attributes
    ----------
    weight : (H, W)
        How much each pixel counts.
    per_window : (H - 10, W - 10)
        One by the weight in each window that fits inside.
    centre : (H - 10, W - 10)
        How much each of these windows counts.
    per_four : (H / 2, W / 2)
        One by the weight of each 2x2 pixels, the sides rounded up.
    """

    weight: Plane
    per_window: Plane
    centre: Plane
    per_four: Plane

    @classmethod
    def of(cls, weight: Plane) -> _Scale:
        total, four = _blur(weight), _sum_of_four(weight)
        border = _WINDOW // 2
        return cls(
            weight,
            per_window=1 / np.maximum(total, _BARELY),
            centre=weight[border:-border, border:-border] * (total > _BARELY),
            per_four=1 / np.maximum(four, _BARELY),
        )

    def mean(self, values: Plane) -> float:
        """The mean of a value of each window; 1 if all that counts is at the border."""
        whole = self.centre.sum(dtype=np.float64)
        if whole == 0:
            return 1.0
        return float((values * self.centre).sum(dtype=np.float64) / whole)


def _similarities(photo: Levels, dslr: Levels, counts: Mask) -> tuple[float, float]:
    """SSIM and MS-SSIM, each scale's term averaged over the channels."""
    scales = [_Scale.of(counts.astype(np.float32))]
    while len(scales) < len(SCALE_WEIGHTS):
        scales.append(_Scale.of(_sum_of_four(scales[-1].weight) / 4))
    finest = 0.0
    terms = np.zeros(len(scales))
    for channel in range(3):
        a, b = (image[:, :, channel].astype(np.float32) / 255 for image in (photo, dslr))
        for number, scale in enumerate(scales):
            similarity, contrast = _similarity_and_contrast(a, b, scale)
            finest += similarity / 3 if number == 0 else 0
            last = number == len(scales) - 1
            terms[number] += (similarity if last else contrast) / 3
            if not last:
                a, b = (_sum_of_four(x * scale.weight) * scale.per_four for x in (a, b))
    return finest, float(np.prod(np.maximum(terms, 0) ** np.array(SCALE_WEIGHTS)))


def _similarity_and_contrast(a: Plane, b: Plane, scale: _Scale) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure term of the windows that fit inside."""
    mean_a, mean_b, squares, products = (
        _blur(scale.weight * x) * scale.per_window for x in (a, b, a * a + b * b, a * b)
    )
    product = mean_a * mean_b
    mean_squares = mean_a**2 + mean_b**2
    contrast = (2 * (products - product) + _C2) / (squares - mean_squares + _C2)
    similarity = contrast * (2 * product + _C1) / (mean_squares + _C1)
    return scale.mean(similarity), scale.mean(contrast)


def _blur(plane: Plane) -> Plane:
    """Gaussian mean of each window that fits inside."""
    border = _WINDOW // 2
    blurred = cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _SIGMA)
    return np.asarray(blurred[border:-border, border:-border], np.float32)


def _sum_of_four(plane: Plane) -> Plane:
    """Sums of 2x2 pixels; an odd last row or column is repeated."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, [(0, height % 2), (0, width % 2)], mode="edge")
    return plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]


def ciede2000(a: Levels, b: Levels) -> NDArray[np.float32]:
    """CIEDE2000 colour difference of sRGB colours: (..., 3) uint8 twice -> (...).

    After Sharma, Wu and Dalal, 2005: The CIEDE2000 color-difference formula, with all weights 1.
    """
    first, second = (np.ascontiguousarray(colours).reshape(-1, 3) for colours in (a, b))
    found = np.empty(len(first), np.float32)
    for start in range(0, len(found), _COLOURS_AT_ONCE):
        part = slice(start, start + _COLOURS_AT_ONCE)
        found[part] = ciede2000_of_lab(_lab(first[part]), _lab(second[part]))
    return found.reshape(a.shape[:-1])


def _lab(colours: Levels) -> NDArray[np.float64]:
    """sRGB (M, 3) uint8 -> CIELAB (M, 3) for the white of D65."""
    xyz = _LINEAR[colours] @ _TO_XYZ.T / _TO_XYZ.sum(axis=1)  # relative to white
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def ciede2000_of_lab(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIEDE2000 of CIELAB colours: (M, 3) twice -> (M,)."""
    (l1, a1, b1), (l2, a2, b2) = a.T, b.T
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1 + 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(y, x)) % 360 for y, x in ((b1, a1), (b2, a2)))
    turn = (h2 - h1 + 180) % 360 - 180
    turn = np.where((h2 - h1) == 180, 180.0, turn)
    turn = np.where(c1 * c2 == 0, 0.0, turn)
    lightness, c = (l1 + l2) / 2, (c1 + c2) / 2
    # The mean hue lies between the two on the shorter way round; of a grey, it is the other's.
    hue = np.where(c1 * c2 == 0, h1 + h2, h1 + turn / 2) % 360

    def cosine(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.cos(np.radians(degrees))

    t = (
        1
        - 0.17 * cosine(hue - 30)
        + 0.24 * cosine(2 * hue)
        + 0.32 * cosine(3 * hue + 6)
        - 0.20 * cosine(4 * hue - 63)
    )
    offset = (lightness - 50) ** 2
    scale_l = 1 + 0.015 * offset / np.sqrt(20 + offset)
    scale_c, scale_h = 1 + 0.045 * c, 1 + 0.015 * c * t
    rotation = -2 * np.sqrt(c**7 / (c**7 + 25.0**7))
    rotation *= np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    dl = (l2 - l1) / scale_l
    dc = (c2 - c1) / scale_c
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / scale_h
    return np.sqrt(np.maximum(dl**2 + dc**2 + dh**2 + rotation * dc * dh, 0))
