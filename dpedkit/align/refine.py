"""From a coarse homography to hundredths of a pixel: measure block shifts, fit, repeat.

The phone photo is reduced to a few sizes, each four times as many pixels as the one before, and
the DSLR photo to the same scales. At each size the DSLR photo is warped by the current map, both
are locally normalised, the shifts that remain are measured block by block, and the map is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import MARGIN, Blocks, measure, normalise, select
from dpedkit.align.coarse import shrink
from dpedkit.align.fit import HOMOGRAPHY, RADIAL, fit_map
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
        are fitted: about 2000 of them at 2 MP, and not too few on a small photo."""
        return 32 if self.phone.size > 300_000 else 16

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


def measure_blocks(level: Level, current: PairMap, block: int | None = None) -> Blocks:
    """The shifts that blocks show under a map, in px of the full-size phone photo.

    Blocks that touch the edge of either photo are left out.
    """
    block = block or level.block
    height, width = level.phone.shape
    dslr_size = (level.dslr.shape[1], level.dslr.shape[0])

    def to_dslr(points: Points) -> Points:
        full = resize_points(points, (width, height), current.phone_size)
        return resize_points(current(full), current.dslr_size, dslr_size)

    maps = pixel_map(to_dslr, (0, 0), (width, height))
    warped = cv2.remap(level.dslr, maps, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    found = measure(level.phone, normalise(warped), block)
    inside = _inside(found.points, block / 2 + MARGIN, (width, height))
    reach = block / 2 + MARGIN
    for corner in ((-reach, -reach), (reach, -reach), (reach, reach), (-reach, reach)):
        inside &= _inside(to_dslr(found.points + np.array(corner)), 0, dslr_size)
    found = select(found, inside)
    scale = np.array(current.phone_size) / np.array([width, height])
    return Blocks(
        resize_points(found.points, (width, height), current.phone_size),
        found.shift * scale,
        found.information / np.outer(scale, scale),
        found.ncc,
    )


def refine(pyramid: list[Level], start: PairMap) -> PairMap | None:
    """Refine homography and lens distortion from the smallest size to the largest.

    Returns None when the photos stop matching on the way: too few blocks, or a fit that runs off.
    """
    current = start
    for number, level in enumerate(pyramid):
        steps = 4 if number == 0 else 3
        for step in range(steps):
            blocks = measure_blocks(level, current)
            if len(blocks) < _MIN_BLOCKS:
                return None
            model = HOMOGRAPHY if number == 0 and step < 2 else RADIAL
            current = fit_map(current, bounded(blocks, level, current), NOISE_FACTOR, model).map
            if not np.isfinite(current.phone_to_dslr).all():
                return None
    return current


def bounded(blocks: Blocks, level: Level, current: PairMap) -> Blocks:
    """Shorten shifts beyond the reach of a linear step, which say the direction at most."""
    reach = _REACH * level.working_px(current)
    length = np.linalg.norm(blocks.shift, axis=1)
    factor = np.minimum(1, reach / np.maximum(length, 1e-9))
    return replace(blocks, shift=blocks.shift * factor[:, None])


def _inside(points: Points, margin: float, size: tuple[int, int]) -> NDArray[np.bool_]:
    low = (points >= margin).all(axis=1)
    return low & (points <= np.array(size) - 1 - margin).all(axis=1)
