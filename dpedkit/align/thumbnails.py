"""Thumbnails of the original photos, for the report: written where their pixels are at hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.images import write_photo

_HEIGHT, _WIDEST = 120, 240
_GAP = 2
_QUALITY = 80


def write_thumbnail(path: Path, phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> None:
    """Write both photos side by side, reduced to a height of 120 px, as JPEG.

    Parameters
    ----------
    path : Path
    phone, dslr : (H, W, 3) uint8 array
        RGB, upright.
    """
    gap = np.full((_HEIGHT, _GAP, 3), 255, np.uint8)
    both = np.hstack([_reduced(phone), gap, _reduced(dslr)])
    write_photo(path, both, jpeg_quality=_QUALITY)


def _reduced(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = photo.shape[:2]
    size = (min(max(1, round(width * _HEIGHT / height)), _WIDEST), _HEIGHT)
    # The mean over every pixel of 12 MP takes 40 ms.
    step = max(1, min(height // (4 * _HEIGHT), width // 4))
    photo = photo[step // 2 :: step, step // 2 :: step]
    reduced: NDArray[np.uint8] = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return reduced
