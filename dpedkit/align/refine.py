"""From a coarse homography to hundredths of a pixel: measure block shifts, fit, repeat.

The phone photo is reduced to a few sizes, each four times as many pixels as the one before, and
the DSLR photo to the same scales; both are locally normalised. At each size the DSLR photo is
warped by the current map, the shifts that remain are measured block by block, and the map is
fitted to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks, Cells, measure, normalise, observe
from dpedkit.align.features import shrink
from dpedkit.align.fit import HOMOGRAPHY, RADIAL, Fit, fit_map
from dpedkit.geometry import PairMap, Points, centre_of, grid_points, resize_points
from dpedkit.resample import PixelMap

_SMALLEST_MP = 0.07  # of the smallest working size, at least
_REACH = 3.0  # px of the working image
_STEPS = (30, 5)  # at most, at the smallest size and at each further one
_SETTLED = 0.02  # px of the working image: a step shorter than this leaves nothing to correct
_NEARLY = 0.2  # the same where a larger size follows, which corrects the rest sooner
_LINEAR = 0.5  # px of the working image: longer steps say nothing of the next
_MAX_LEFT = 0.7  # of a step
_LARGE = 1_000_000  # px
_OWN_DETAIL = 1.0  # px of the phone photo: where near and far photos of City100 showed no bias
_LITTLE_BLUR = 0.25  # px: weaker ones change nothing
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
        Grey, locally normalised, of the same scale.
    phone_shows, dslr_shows : tuple of int
        `(width, height)` of what they show, from the corner on, in px of the full-size photos.
    """

    phone: NDArray[np.float32]
    dslr: NDArray[np.float32]
    phone_shows: tuple[int, int]
    dslr_shows: tuple[int, int]

    @property
    def block(self) -> int:
        """Side of a block in px: small ones see moving things and depth steps for themselves."""
        return 16

    @property
    def large_block(self) -> int:
        """Side of a block in px where each must be judged by itself, or where many parameters
        are fitted: about 1000 of them, and not too few on a small photo."""
        return max(16, 8 * round(np.sqrt(self.phone.size / 1000) / 8))

    @property
    def working_px(self) -> float:
        """Phone px per px of this size."""
        return self.phone_shows[0] / self.phone.shape[1]


def levels(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], start: PairMap, working_mp: float
) -> list[Level]:
    """Both photos at the working sizes, smallest first.

    Parameters
    ----------
    phone, dslr : (H, W) uint8 array
        Grey, at full size; columns at the right and rows at the bottom may be missing.
    """
    phone_shows, dslr_shows = phone.shape[::-1], dslr.shape[::-1]
    dslr_per_phone = start.scale_at(centre_of(start.phone_size))
    sizes = [working_mp]
    while sizes[0] / 4 >= _SMALLEST_MP:
        sizes.insert(0, sizes[0] / 4)
    result = []
    for megapixels in reversed(sizes):
        phone = shrink(phone, megapixels)
        scale = phone.shape[1] / phone_shows[0] / dslr_per_phone
        dslr = shrink(dslr, min(1.0, scale**2) * dslr_shows[0] * dslr_shows[1] / 1e6)
        # Where the phone photo shows the scene larger, the DSLR photo is left as small as it is.
        shrunk = max(1.0, scale)
        blur = _own_detail(phone_shows[0] / phone.shape[1])
        result.append(
            Level(
                normalise(_blurred(phone, blur)),
                normalise(_blurred(dslr, blur), shrunk),
                phone_shows,
                dslr_shows,
            )
        )
    return result[::-1]


def _own_detail(working_px: float) -> float:
    """Deviation in working px of the blur that is still needed to hide a camera's own detail.

    The finest detail of a photo is of the camera's making: demosaicing, sharpening, compression.
    It lies up to hundredths of a pixel beside the scene's. Reducing a photo, by the mean over
    squares of the `working_px`, hides some of it, and all of it from 3.6 on.
    """
    return float(np.sqrt(max(0.0, _OWN_DETAIL**2 - (working_px**2 - 1) / 12)) / working_px)


def _blurred(image: NDArray[np.uint8], deviation: float) -> NDArray[np.float32]:
    real: NDArray[np.float32] = image.astype(np.float32)
    if deviation > _LITTLE_BLUR:
        cv2.GaussianBlur(real, (0, 0), deviation, dst=real)
    return real


def warped(level: Level, current: PairMap) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The DSLR photo on the phone photo's grid at this size, and where it shows something."""
    maps = _pixel_map(level, current).rows(0, level.phone.shape[0])
    return _remap(level, maps), _inside(maps, level.dslr.shape)


def observe_level(level: Level, current: PairMap, every: int = 1) -> Cells:
    """What both photos show together at this size under a map; see `blocks.observe`."""
    source = _pixel_map(level, current)
    shown = _inside(source.nodes[1:-1, 1:-1], level.dslr.shape)
    return observe(
        level.phone, lambda top, bottom: _remap(level, source.rows(top, bottom)), shown, every
    )


def blocks_of(cells: Cells, level: Level, block: int | None = None) -> Blocks:
    """The shifts that blocks show, in px of the full-size phone photo.

    Parameters
    ----------
    cells : Cells
        Observed at this level under a map; the shifts are those that it leaves.
    block : int, optional
        Side in px of this size, a multiple of a cell's.
    """
    found = measure(cells, block or level.block)
    size = (level.phone.shape[1], level.phone.shape[0])
    scale = np.array(level.phone_shows) / np.array(size)
    return replace(
        found,
        points=resize_points(found.points, size, level.phone_shows),
        shift=found.shift * scale,
        information=found.information / np.outer(scale, scale),
    )


@dataclass(frozen=True)
class Refined:
    """A map that was refined at all working sizes, and what it was last fitted to.

    Attributes
    ----------
    fit : Fit
    observed : Cells
        At the largest size, under the map before the last step.
    under : PairMap
        That map.
    settled : bool
        Whether the last step was too short to matter.
    """

    fit: Fit
    observed: Cells
    under: PairMap
    settled: bool


def refine(pyramid: list[Level], start: PairMap) -> Refined | None:
    """Refine homography and lens distortion from the smallest size to the largest.

    Returns None when the photos stop matching on the way: too few blocks, blocks in so narrow a
    strip that they determine no map, or a fit that runs off.
    """
    current, refined = start, None
    for number, level in enumerate(pyramid):
        last = number == len(pyramid) - 1
        # At first the steps are too long to learn from.
        stride = Stride(learns=number > 0, settled=_SETTLED if last else _NEARLY)
        for step in range(_STEPS[0] if number == 0 else _STEPS[1]):
            # The first step at a large size only brings the map near: half of the photo will do.
            every = 2 if step == 0 and level.phone.size > _LARGE else 1
            cells = observe_level(level, current, every)
            blocks = blocks_of(cells, level)
            if len(blocks) < _MIN_BLOCKS:
                return None
            model = HOMOGRAPHY if number == 0 and step < 2 else RADIAL
            blocks = stride.lengthened(bounded(blocks, level))
            try:
                fit = fit_map(current, blocks, NOISE_FACTOR, model)
            except np.linalg.LinAlgError:
                return None
            if not np.isfinite(fit.map.phone_to_dslr).all():
                return None
            settled = stride.settles(current, fit.map, level) and model == RADIAL and every == 1
            refined, current = Refined(fit, cells, current, settled), fit.map
            if settled:
                break
    return refined


class Stride:
    """How long steps must be to arrive in few of them.

    Noise in the gradients shortens the shifts that blocks show: of a step of a tenth of a pixel
    only a part is made. Which part is seen by what the next step finds left.
    """

    def __init__(self, learns: bool = True, settled: float = _SETTLED) -> None:
        self.learns, self.settled, self.gain = learns, settled, 1.0
        self._moved: Points | None = None

    def lengthened(self, blocks: Blocks) -> Blocks:
        """The blocks with the shifts that they would show without noise."""
        return replace(blocks, shift=blocks.shift * self.gain)

    def settles(self, before: PairMap, after: PairMap, level: Level) -> bool:
        """Learn from a step; whether it was so short that another would change nothing."""
        width, height = before.phone_size
        points = grid_points(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 7))
        moved = after(points) - before(points)
        moved /= before.scale_at(centre_of(before.phone_size)) * level.working_px
        length = float(np.linalg.norm(moved, axis=1).mean())
        if self.learns and self._moved is not None:
            # What this step found, relative to the one before, is what that one left over.
            left = float((moved * self._moved).sum() / (self._moved**2).sum())
            self.gain = 1 / (1 - float(np.clip(left, 0.0, _MAX_LEFT)))
        self._moved = moved if 0 < length < _LINEAR and self.gain == 1.0 else None
        return length < self.settled


def bounded(blocks: Blocks, level: Level) -> Blocks:
    """Shorten shifts beyond the reach of a linear step, which say the direction at most."""
    reach = _REACH * level.working_px
    length = np.linalg.norm(blocks.shift, axis=1)
    factor = np.minimum(1, reach / np.maximum(length, 1e-9))
    return replace(blocks, shift=blocks.shift * factor[:, None])


def _pixel_map(level: Level, current: PairMap) -> PixelMap:
    phone_size = (level.phone.shape[1], level.phone.shape[0])
    dslr_size = (level.dslr.shape[1], level.dslr.shape[0])

    def to_dslr(points: Points) -> Points:
        full = resize_points(points, phone_size, level.phone_shows)
        return resize_points(current(full), level.dslr_shows, dslr_size)

    return PixelMap(to_dslr, (0, 0), phone_size)


def _remap(level: Level, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    return cv2.remap(level.dslr, maps, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _inside(points: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether points `(..., 2)` lie inside an image of this shape (rows first)."""
    x, y = points[..., 0], points[..., 1]
    return (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
