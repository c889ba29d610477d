"""Checks of the arrays that a program passes in, before any work is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: weights of red, green and blue


def check_photo(name: str, photo: Any) -> None:
    """Refuse what is not a photo: a non-empty `(H, W, 3) uint8` array.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    photo : object

    Raises
    ------
    TypeError
        If it is not a NumPy array, or its values are not uint8.
    ValueError
        If it has another shape or no pixels.
    """
    _check(name, photo, photo_shaped=True, wanted="an (H, W, 3) uint8 array of RGB pixels")


def check_mask(name: str, mask: Any) -> None:
    """Refuse what is not a non-empty `(H, W) uint8` array; raises as `check_photo` does."""
    _check(name, mask, photo_shaped=False, wanted="an (H, W) uint8 array")


def check_points(points: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The points as an `(N, 2) float64` array.

    Raises
    ------
    ValueError
        If they have another shape.
    """
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(
            f"points have the shape {array.shape}, but must be an (N, 2) array of (x, y) in px"
        )
    return array


def _check(name: str, array: Any, *, photo_shaped: bool, wanted: str) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is of type {type(array).__name__}, but must be {wanted}")
    told = f"{name} is a {array.dtype} array of shape {array.shape}, but must be {wanted}"
    if array.dtype != np.uint8:
        raise TypeError(told)
    right = array.ndim == 3 and array.shape[2] == 3 if photo_shaped else array.ndim == 2
    if not right or array.size == 0:
        raise ValueError(told)
