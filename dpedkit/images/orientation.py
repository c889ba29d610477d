"""EXIF orientation: the only place where a photo is turned, whatever decoded it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UPRIGHT = 1
_SIDEWAYS = (5, 6, 7, 8)


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Width and height of a photo when it is upright."""
    return (height, width) if orientation in _SIDEWAYS else (width, height)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror stored pixels so that the scene is upright.

    Parameters
    ----------
    pixels : (H, W, 3) array of uint8
        As they stand in the file.
    orientation : int
        The EXIF tag of that name, 1 to 8 (EXIF 3.0, section 4.6.5); others count as 1.

    Returns
    -------
    (H, W, 3) or (W, H, 3) array of uint8
        `pixels` itself where there is nothing to do.
    """
    import cv2

    match orientation:
        case 2:
            return cv2.flip(pixels, 1)
        case 3:
            return cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            return cv2.flip(pixels, 0)
        case 5:
            return cv2.transpose(pixels)
        case 6:
            return cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            return cv2.flip(cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE), 0)
        case 8:
            return cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return pixels
