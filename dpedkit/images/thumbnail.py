"""The thumbnail of a photo: the whole of it in a few pixels, always made in the same way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.arrays import check_photo

THUMBNAIL_SIDE = 256  # px, the longer side


def make_thumbnail(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce a whole photo to 256 px on its longer side; each pixel is the mean of its area.

    Parameters
    ----------
    photo : (H, W, 3) uint8
        RGB, sRGB, upright, as `read_photo` returns it.

    Returns
    -------
    (h, w, 3) uint8
        With the proportions of the photo, to the nearest pixel. A photo of at most 256 px is
        returned as it is.

    Raises
    ------
    TypeError, ValueError
        If `photo` is not such an array.
    """
    import cv2

    check_photo("photo", photo)
    height, width = photo.shape[:2]
    longest = max(height, width)
    if longest <= THUMBNAIL_SIDE:
        return photo
    size = tuple(max(1, round(side * THUMBNAIL_SIDE / longest)) for side in (width, height))
    thumbnail: NDArray[np.uint8] = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return thumbnail
