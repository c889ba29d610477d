"""Before and after in one picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dpedkit.enhancement.config import PANEL_SIDE

_GAP = 6


def before_after(
    before: NDArray[np.uint8], after: NDArray[np.uint8], side: int = PANEL_SIDE
) -> NDArray[np.uint8]:
    """Two photos of one size next to each other, with labels.

    Parameters
    ----------
    before, after : (H, W, 3) arrays of uint8
    side : int
        Width and height of a panel at most; larger photos are reduced.

    Returns
    -------
    (h, w, 3) array of uint8
    """
    panels = [
        _labelled(_reduced(photo, side), label)
        for photo, label in ((before, "before"), (after, "after"))
    ]
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.hstack([panels[0], gap, panels[1]])


def _reduced(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = photo.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return photo
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)


def _labelled(photo: NDArray[np.uint8], label: str) -> NDArray[np.uint8]:
    """Write a label into the lower left corner, where the photo is large enough to hold it."""
    height, width = photo.shape[:2]
    letters = round(0.045 * min(height, width))
    if letters < 8:
        return photo
    picture = Image.fromarray(photo)
    draw = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(letters)
    margin = letters // 2
    at = (2 * margin, height - 2 * margin)
    left, top, right, bottom = draw.textbbox(at, label, font=font, anchor="lb")
    box = (left - margin, top - margin / 2, right + margin, bottom + margin / 2)
    draw.rectangle(box, fill=(0, 0, 0, 150))
    draw.text(at, label, font=font, anchor="lb", fill=(255, 255, 255, 255))
    return np.asarray(picture)
