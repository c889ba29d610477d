"""From a coarse homography to hundredths of a pixel: measure block shifts, fit, repeat.

The phone photo is reduced to a few sizes, each four times as many pixels as the one before, and
the DSLR photo to the same scales. At each size the DSLR photo is warped by the current map, both
are locally normalised, the shifts that remain are measured block by block, and the map is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import MARGIN, Blocks, measure, normalise, select
from dpedkit.align.coarse import shrink
from dpedkit.align.fit import HOMOGRAPHY, RADIAL, Fit, fit_map
from dpedkit.align.warp import pixel_map
from dpedkit.geometry import PairMap, Points, centre_of, resize_points

_SMALLEST_MP = 0.1
_REACH = 3.0  # px of the working image
_MIN_BLOCKS = 12  # for the eight parameters of a homography
# Neighbouring pixels share noise (demosaicing, JPEG, resizing, the normalisation's window), so a
# shift's variance is larger than for independent noise; measured on photos with a known map.
NOISE_FACTOR = 4.0


@dataclass(frozen=True)
class Level:
    """Both photos at one working size.

    Attributes
    ----------
    phone, dslr : (H, W) float32 array
        Grey; the phone photo locally normalised, the DSLR photo not yet.
    """

    phone: NDArray[np.float32]
    dslr: NDArray[np.float32]

    @property
    def block(self) -> int:
        """Side of a block in px: small ones see moving things and depth steps for themselves."""
        return 16

    @property
    def large_block(self) -> int:
        """Side of a block in px where each must be judged by itself, or where many parameters
        are fitted: about 1000 of them, and not too few on a small photo."""
        return max(16, 8 * round(np.sqrt(self.phone.size / 1000) / 8))

    def working_px(self, current: PairMap) -> float:
        """Phone px per px of this size."""
        return current.phone_size[0] / self.phone.shape[1]


def levels(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], start: PairMap, working_mp: float
) -> list[Level]:
    """Both photos at the working sizes, smallest first."""
    dslr_per_phone = start.scale_at(centre_of(start.phone_size))
    sizes = [working_mp]
    while sizes[0] / 4 >= _SMALLEST_MP:
        sizes.insert(0, sizes[0] / 4)
    result = []
    for megapixels in reversed(sizes):
        phone = shrink(phone, megapixels)
        scale = phone.shape[1] / start.phone_size[0] / dslr_per_phone
        dslr = shrink(dslr, min(1.0, scale**2) * start.dslr_size[0] * start.dslr_size[1] / 1e6)
        result.append(Level(normalise(phone.astype(np.float32)), dslr.astype(np.float32)))
    return result[::-1]


def warped(level: Level, current: PairMap) -> NDArray[np.float32]:
    """The DSLR photo on the phone photo's grid at this size, locally normalised, `(H, W)`."""
    size = (level.phone.shape[1], level.phone.shape[0])
    maps = pixel_map(partial(_to_level_dslr, level, current), (0, 0), size)
    image = cv2.remap(level.dslr, maps, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return normalise(image)


def measure_blocks(level: Level, current: PairMap, block: int | None = None) -> Blocks:
    """The shifts that blocks show under a map, in px of the full-size phone photo.

    Blocks that touch the edge of either photo are left out.
    """
    block = block or level.block
    size = (level.phone.shape[1], level.phone.shape[0])
    found = measure(level.phone, warped(level, current), block)
    found = select(found, covered(level, current, found.points, block / 2 + MARGIN))
    scale = np.array(current.phone_size) / np.array(size)
    return replace(
        found,
        points=resize_points(found.points, size, current.phone_size),
        shift=found.shift * scale,
        information=found.information / np.outer(scale, scale),
    )


def covered(level: Level, current: PairMap, points: Points, reach: float) -> NDArray[np.bool_]:
    """Whether squares of half-width `reach` round points of this size lie inside both photos."""
    inside = _inside(points, reach, (level.phone.shape[1], level.phone.shape[0]))
    dslr_size = (level.dslr.shape[1], level.dslr.shape[0])
    for corner in ((-reach, -reach), (reach, -reach), (reach, reach), (-reach, reach)):
        mapped = _to_level_dslr(level, current, points + np.array(corner))
        inside &= _inside(mapped, 0, dslr_size)
    return inside


def refine(pyramid: list[Level], start: PairMap) -> Fit | None:
    """Refine homography and lens distortion from the smallest size to the largest.

    Returns None when the photos stop matching on the way: too few blocks, or a fit that runs off.
    """
    current, fit = start, None
    for number, level in enumerate(pyramid):
        for step in range(4 if number == 0 else 3):
            blocks = measure_blocks(level, current)
            if len(blocks) < _MIN_BLOCKS:
                return None
            model = HOMOGRAPHY if number == 0 and step < 2 else RADIAL
            fit = fit_map(current, bounded(blocks, level, current), NOISE_FACTOR, model)
            current = fit.map
            if not np.isfinite(current.phone_to_dslr).all():
                return None
    return fit


def bounded(blocks: Blocks, level: Level, current: PairMap) -> Blocks:
    """Shorten shifts beyond the reach of a linear step, which say the direction at most."""
    reach = _REACH * level.working_px(current)
    length = np.linalg.norm(blocks.shift, axis=1)
    factor = np.minimum(1, reach / np.maximum(length, 1e-9))
    return replace(blocks, shift=blocks.shift * factor[:, None])


def _to_level_dslr(level: Level, current: PairMap, points: Points) -> Points:
    phone_size = (level.phone.shape[1], level.phone.shape[0])
    dslr_size = (level.dslr.shape[1], level.dslr.shape[0])
    full = resize_points(points, phone_size, current.phone_size)
    return resize_points(current(full), current.dslr_size, dslr_size)


def _inside(points: Points, margin: float, size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.all((points >= margin) & (points <= np.array(size) - 1 - margin), axis=1)
