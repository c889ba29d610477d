"""One resampling of the DSLR photo, from its original pixels to the phone crop's grid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.crop import Rectangle
from dpedkit.align.warp import PixelMap
from dpedkit.geometry import PairMap, centre_of

_STRIP = 256  # rows at a time: bounds the memory, and the work stays in the processor's cache


def resample_dslr(dslr: NDArray[np.uint8], pair_map: PairMap, crop: Rectangle) -> NDArray[np.uint8]:
    """The DSLR photo as the phone saw it, in the phone crop's pixels.

    Where the DSLR photo has more pixels than the crop, each crop pixel is the mean of several
    samples, close enough for the pixels between not to be skipped (no aliasing).

    Parameters
    ----------
    dslr : (H, W, 3) uint8 array
    pair_map : PairMap
    crop : tuple of int
        `(x, y, width, height)` in the phone photo.

    Returns
    -------
    (height, width, 3) uint8 array
    """
    x, y, width, height = crop
    samples = samples_per_pixel(pair_map)
    interpolation = cv2.INTER_CUBIC if samples == 1 else cv2.INTER_LINEAR
    result = np.empty((height, width, 3), np.uint8)
    source = PixelMap(pair_map, (x, y), (width, height), samples)
    for top in range(0, height, _STRIP):
        rows = min(_STRIP, height - top)
        maps = source.rows(top, top + rows)
        strip = cv2.remap(dslr, maps, None, interpolation, borderMode=cv2.BORDER_REPLICATE)
        if samples > 1:
            strip = cv2.resize(strip, (width, rows), interpolation=cv2.INTER_AREA)
        result[top : top + rows] = strip
    return result


def samples_per_pixel(pair_map: PairMap) -> int:
    """Samples along each axis of a crop pixel: 1 where nothing is reduced, else at least 2."""
    scale = pair_map.scale_at(centre_of(pair_map.phone_size))
    return 1 if scale <= 1.0 else max(2, int(np.ceil(scale)))
