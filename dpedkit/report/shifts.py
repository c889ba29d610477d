"""How strongly a loss reacts to a shift between two images (paper, figure 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.core.errors import DpedkitError
from dpedkit.losses import authors_taps, blur, paper_taps

SHIFTS = tuple(range(11))  # px
PATCH_SIZE = 100  # px


@dataclass(frozen=True)
class ShiftCurves:
    """Losses between patches and the same patches shifted by n px in a random direction.

    Attributes
    ----------
    patches : int
        How many were compared at each shift.
    mse : (11,) float64 array
        Mean squared difference of values in [0, 1], for shifts of 0 to 10 px.
    paper, authors : (11,) float64 array
        The same of the blurred patches: the colour loss per value, with the blur of the paper's
        equation 4 and with that of the authors' code.
    """

    patches: int
    mse: NDArray[np.float64]
    paper: NDArray[np.float64]
    authors: NDArray[np.float64]


def losses_under_shifts(
    photos: Iterable[NDArray[np.uint8]], *, patches: int = 100, seed: int = 0
) -> ShiftCurves:
    """Compare patches with their shifted selves.

    Parameters
    ----------
    photos : iterable of (H, W, 3) uint8
        At least 120 px on each side.
    patches : int
        Patches of 100 px cut from each photo, at random places.
    seed : int
        Of the places and of the directions, which are rounded to whole pixels.

    Raises
    ------
    DpedkitError
        If a photo is smaller.
    """
    rng = np.random.default_rng(seed)
    count = 0
    sums = np.zeros((3, len(SHIFTS)))
    for photo in photos:
        reach = SHIFTS[-1]
        rows, columns = (size - PATCH_SIZE - 2 * reach + 1 for size in photo.shape[:2])
        if min(rows, columns) < 1:
            raise DpedkitError(
                f"A photo of {photo.shape[1]}x{photo.shape[0]} px is too small for shifting "
                f"patches of {PATCH_SIZE} px; leave it out."
            )
        for _ in range(patches):
            y, x = reach + rng.integers(rows), reach + rng.integers(columns)
            direction = rng.uniform(0, 2 * np.pi)
            dx, dy = (np.outer([np.cos(direction), np.sin(direction)], SHIFTS)).round().astype(int)
            shifted = torch.stack(
                [_patch(photo, y + int(b), x + int(a)) for a, b in zip(dx, dy, strict=True)]
            )
            difference = shifted - _patch(photo, y, x)
            sums += [
                _mean_square(images).numpy()
                for images in (
                    difference,
                    blur(difference, paper_taps()),
                    blur(difference, authors_taps()),
                )
            ]
            count += 1
    return ShiftCurves(count, *(sums / count))


def _patch(photo: NDArray[np.uint8], y: int, x: int) -> Tensor:
    levels = photo[y : y + PATCH_SIZE, x : x + PATCH_SIZE]
    return torch.from_numpy(levels / 255).permute(2, 0, 1)


def _mean_square(images: Tensor) -> Tensor:
    return images.square().mean(dim=(1, 2, 3))
