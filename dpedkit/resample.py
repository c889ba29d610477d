"""Two photos and their map become two images that match pixel for pixel.

The phone photo is cropped and keeps its pixels; the DSLR photo is resampled once, from its original
pixels to the phone crop's grid.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.core.arrays import check_photo
from dpedkit.geometry import PairMap, Rectangle, centre_of
from dpedkit.pixelmap import PixelMap

_STRIP = 256  # rows at a time: bounds the memory, and the work stays in the processor's cache
_MAX_STEP = 1.9  # DSLR px between samples that three filter taps can keep from aliasing


def crop_phone(phone: NDArray[np.uint8], crop: Rectangle) -> NDArray[np.uint8]:
    """A copy of the crop `(x, y, width, height)` of the phone photo `(H, W, 3) uint8`.

    Raises
    ------
    TypeError, ValueError
        If `phone` is not such an array, or the crop reaches beyond it.
    """
    check_photo("phone", phone)
    x, y, width, height = crop
    if min(x, y, width, height) < 0 or x + width > phone.shape[1] or y + height > phone.shape[0]:
        raise ValueError(f"the crop {tuple(crop)} reaches beyond a photo of shape {phone.shape}")
    return np.ascontiguousarray(phone[y : y + height, x : x + width])


def resample_dslr(dslr: NDArray[np.uint8], pair_map: PairMap, crop: Rectangle) -> NDArray[np.uint8]:
    """The DSLR photo as the phone saw it, in the phone crop's pixels.

    A phone pixel shows the mean over its square, so that is what each pixel of the crop becomes:
    the DSLR photo is smoothed on its own pixel grid by as much, and then sampled once by cubic
    interpolation; where the DSLR photo has many more pixels than the crop, several times.

    Parameters
    ----------
    dslr : (H, W, 3) uint8 array
    pair_map : PairMap
    crop : tuple of int
        `(x, y, width, height)` in the phone photo.

    Returns
    -------
    (height, width, 3) uint8 array

    Raises
    ------
    TypeError, ValueError
        If `dslr` is not such an array, or not of the size that the map is for.
    """
    check_photo("dslr", dslr)
    if (dslr.shape[1], dslr.shape[0]) != tuple(pair_map.dslr_size):
        expected = (*reversed(pair_map.dslr_size), 3)
        raise ValueError(f"dslr has the shape {dslr.shape}, but the map is for {expected}")
    x, y, width, height = crop
    samples, taps = sampling(pair_map.scale_at(centre_of(pair_map.phone_size)))
    smooth = cv2.sepFilter2D(dslr, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    result = np.empty((height, width, 3), np.uint8)
    source = PixelMap(pair_map, (x, y), (width, height), samples)
    for top in range(0, height, _STRIP):
        rows = min(_STRIP, height - top)
        maps = source.rows(top, top + rows)
        strip = cv2.remap(smooth, maps, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if samples > 1:
            strip = cv2.resize(strip, (width, rows), interpolation=cv2.INTER_AREA)
        result[top : top + rows] = strip
    return result


def sampling(scale: float) -> tuple[int, NDArray[np.float64]]:
    """Samples per crop pixel along each axis, and the filter to apply before sampling.

    The three taps have the variance of the mean over a sample's part of the pixel, s^2 / 12, and
    a little more for what cubic interpolation sharpens.

    Parameters
    ----------
    scale : float
        DSLR pixels per phone pixel.
    """
    samples = int(np.ceil(scale / _MAX_STEP))
    variance = (scale / samples) ** 2 / 12 + 0.02
    return samples, np.array([variance / 2, 1 - variance, variance / 2])
