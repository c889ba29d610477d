"""Refine a coarse homography to hundredths of a pixel: measure block shifts, fit, repeat.

Both photos are reduced to a pyramid of a few working sizes, each with four times as many pixels as
the one before, and locally normalised. At each size the DSLR photo is warped by the current map,
the residual shifts are measured block by block, and the map is fitted to them.
"""

from __future__ import annotations

from collections.abc import Callable
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

_SMALLEST_MP = 0.07  # minimum of the smallest working size
_REACH = 3.0  # px of the working image
_STEPS = (30, 5)  # maximum, at the smallest size and at each other one
CONVERGED = 0.02  # px of the working image: mean length of a step that needs no other after it
NEARLY_CONVERGED = 0.2  # the same at all sizes but the largest, as the next one corrects the rest
_LINEAR = 0.5  # px of the working image: the gain is not estimated from longer steps
_MAX_LEFT = 0.7  # fraction of a step that may be left over, for the gain
_LARGE = 1_000_000  # px
_OWN_DETAIL = 1.0  # px of the phone photo: no bias on City100's near and far photos
_LITTLE_BLUR = 0.25  # px: a weaker blur has no effect
_MIN_BLOCKS = 12  # for the eight parameters of a homography
# Noise is correlated between pixels (demosaicing, JPEG, resizing, normalisation), so the variance
# of shifts is larger than for independent noise; measured on photos with known maps.
NOISE_FACTOR = 4.0


@dataclass(frozen=True)
class Level:
    """Both photos at one working size.

    Attributes
    ----------
    phone, dslr : (H, W) float32 array
        Grey, locally normalised, at the same scale.
    phone_shows, dslr_shows : tuple of int
        `(width, height)` of the area they cover, from the top left corner, in full-size px.
    """

    phone: NDArray[np.float32]
    dslr: NDArray[np.float32]
    phone_shows: tuple[int, int]
    dslr_shows: tuple[int, int]

    @property
    def block(self) -> int:
        """Side of a block in px; small, to separate moving objects and depth steps."""
        return 16

    @property
    def large_block(self) -> int:
        """Side in px of the blocks that a field is fitted to: about 1000 blocks, and not too few
        on a small photo."""
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
        # Where the phone photo has the finer scale, the DSLR photo is not enlarged.
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
    """Sigma, in working px, of the blur that is needed to suppress camera-made detail.

    The finest detail of a photo is made by the camera: demosaicing, sharpening, compression. It is
    displaced by hundredths of a pixel against the scene. Reducing a photo averages over squares of
    `working_px`, which suppresses part of this detail, and all of it from 3.6 on.
    """
    return float(np.sqrt(max(0.0, _OWN_DETAIL**2 - (working_px**2 - 1) / 12)) / working_px)


def _blurred(image: NDArray[np.uint8], deviation: float) -> NDArray[np.float32]:
    real: NDArray[np.float32] = image.astype(np.float32)
    if deviation > _LITTLE_BLUR:
        cv2.GaussianBlur(real, (0, 0), deviation, dst=real)
    return real


def warped(level: Level, current: PairMap) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The DSLR photo warped to the phone photo's grid at this size, and the mask it covers."""
    maps = _pixel_map(level, current).rows(0, level.phone.shape[0])
    return _remap(level, maps), _inside(maps, level.dslr.shape)


def warped_rows(level: Level, current: PairMap) -> Callable[[int, int], NDArray[np.float32]]:
    """A function that gives the rows of the warped DSLR photo from a first one, a multiple of 8, up
    to a last one."""
    source = _pixel_map(level, current)
    return lambda top, bottom: _remap(level, source.rows(top, bottom))


def observe_level(level: Level, current: PairMap, every: int = 1) -> Cells:
    """Second moments of both photos at this size under a map; see `blocks.observe`."""
    source = _pixel_map(level, current)
    shown = _inside(source.nodes[1:-1, 1:-1], level.dslr.shape)
    return observe(
        level.phone, lambda top, bottom: _remap(level, source.rows(top, bottom)), shown, every
    )


def blocks_of(cells: Cells, level: Level, block: int | None = None) -> Blocks:
    """Measured shifts of blocks, in px of the full-size phone photo.

    Parameters
    ----------
    cells : Cells
        Observed at this level under a map; the shifts are relative to it.
    block : int, optional
        Side in px of this level, a multiple of the cell size.
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
    """A map refined at all working sizes, and the observation it was last fitted to.

    Attributes
    ----------
    fit : Fit
    observed : Cells
        At the largest size, under the map before the last step.
    under : PairMap
        That map.
    converged : bool
        Whether the last step was negligible.
    """

    fit: Fit
    observed: Cells
    under: PairMap
    converged: bool


def refine(pyramid: list[Level], start: PairMap) -> Refined | None:
    """Refine homography and lens distortion from the smallest size to the largest.

    Returns None if the photos do not match in detail: too few blocks, blocks in too narrow a strip
    to determine a map, or a diverging fit.
    """
    current, refined = start, None
    for number, level in enumerate(pyramid):
        last = number == len(pyramid) - 1
        # At the smallest size the steps are too long to estimate a gain from.
        step_length = StepLength(
            learns=number > 0, converged=CONVERGED if last else NEARLY_CONVERGED
        )
        for step in range(_STEPS[0] if number == 0 else _STEPS[1]):
            # The first step at a large size is only approximate, so half of the photo suffices.
            every = 2 if step == 0 and level.phone.size > _LARGE else 1
            cells = observe_level(level, current, every)
            blocks = blocks_of(cells, level)
            if len(blocks) < _MIN_BLOCKS:
                return None
            model = HOMOGRAPHY if number == 0 and step < 2 else RADIAL
            blocks = step_length.lengthened(bounded(blocks, level))
            try:
                fit = fit_map(current, blocks, NOISE_FACTOR, model)
            except np.linalg.LinAlgError:
                return None
            if not np.isfinite(fit.map.phone_to_dslr).all():
                return None
            converged = (
                step_length.converges(current, fit.map, level) and model == RADIAL and every == 1
            )
            refined, current = Refined(fit, cells, current, converged), fit.map
            if converged:
                break
    return refined


class StepLength:
    """Lengthens steps so that fewer are needed, and detects convergence.

    Noise in the gradients biases measured shifts towards zero, so a step covers only part of its
    distance. What the next step finds left over tells how large that part is.
    """

    def __init__(self, learns: bool = True, converged: float = CONVERGED) -> None:
        self.learns, self.converged, self.gain = learns, converged, 1.0
        self._moved: Points | None = None

    def lengthened(self, blocks: Blocks) -> Blocks:
        """The blocks with their shifts corrected for that bias."""
        return replace(blocks, shift=blocks.shift * self.gain)

    def converges(self, before: PairMap, after: PairMap, level: Level) -> bool:
        """Update the gain from a step; whether the step was short enough to stop."""
        width, height = before.phone_size
        points = grid_points(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 7))
        moved = after(points) - before(points)
        moved /= before.scale_at(centre_of(before.phone_size)) * level.working_px
        length = float(np.linalg.norm(moved, axis=1).mean())
        if self.learns and self._moved is not None:
            # The projection of this step on the one before is the fraction that was left over.
            left = float((moved * self._moved).sum() / (self._moved**2).sum())
            self.gain = 1 / (1 - float(np.clip(left, 0.0, _MAX_LEFT)))
        self._moved = moved if 0 < length < _LINEAR and self.gain == 1.0 else None
        return length < self.converged


def bounded(blocks: Blocks, level: Level) -> Blocks:
    """Clip shifts that exceed the reach of a linear step; only their direction is meaningful."""
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
    """Whether points `(R, C, 2)` are inside an image of this shape (rows first)."""
    inside = cv2.inRange(points, (0.0, 0.0), (shape[1] - 1.0, shape[0] - 1.0))
    return np.asarray(inside > 0)
