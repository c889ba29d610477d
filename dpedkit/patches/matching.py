"""Match the windows of one aligned pair: from two photos to patch pairs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.core.arrays import check_mask, check_photo
from dpedkit.core.process import one_thread
from dpedkit.patches.config import PatchConfig
from dpedkit.patches.parts import compare_parts
from dpedkit.patches.registration import Motion, Planes, moved_window, register
from dpedkit.patches.verdict import clipped_pixels, luma, ncc, worst_mismatch
from dpedkit.surfaces import EDGE, HOLDS, MISSING

KEPT = "kept"
CLIPPED, LOW_NCC, MISMATCH, FLAT = "clipped", "low NCC", "mismatch", "flat"
TOO_FAR, OUTSIDE, OVERLAP = "too far", "outside", "overlap"
PARTS, DEPTH, UNKNOWN = "parts", "depth", "unknown"
DROP_REASONS = {
    CLIPPED: "too much of it is clipped to black or white",
    FLAT: "too little texture to measure its shift",
    TOO_FAR: "its best match is too far away",
    OUTSIDE: "its match extends beyond the photo",
    LOW_NCC: "the correlation of the two photos is too low",
    MISMATCH: "something moved or is occluded in one of the photos",
    PARTS: "part of it is out of place: two depths, or something moved",
    DEPTH: "it contains a depth discontinuity",
    UNKNOWN: "the alignment may not hold in all of it, and it has too little texture to check",
    OVERLAP: "its match overlaps that of a better window",
}

_BORDER = 3  # px around a window, for bicubic interpolation and a small motion
_PHONE_GAP = 2  # px between windows that may be moved towards each other
# 1% level of a chi-square with 3 degrees of freedom. A motion without evidence would replace the
# alignment of the whole photo, and original pixels, by noise.
_EVIDENCE = 11.3
# Maximum share of a window on depth discontinuities, and where the alignment may not hold, that its
# own detail does not prove to be in place.
_MAX_EDGE, _MAX_DOUBTFUL = 0.03, 0.1
_MAX_MISSING = 0.75  # the same in a scene without discontinuities, for detail that was not found


@dataclass(frozen=True)
class Patches:
    """The patch pairs of one photo pair, and the outcome of every window.

    Attributes
    ----------
    phone, dslr : (N, S, S, 3) uint8
        Kept patch pairs, from the top left to the bottom right.
    ncc : (N,) float32
    xy : (N, 2) int32
        Corner of the window in the aligned photos before it was adjusted, px.
    shift : (N, 2) float32
        Shift of the window in the adjusted photo, px; 0 for flat windows.
    angle : (N,) float32
        Its rotation, degrees, clockwise on the screen.
    shift_error : (N,) float32
        Standard error of the shift, px; inf if the window has no content to measure it.
    window_xy : (T, 2) int32
        Corners of all windows tried.
    window_fate : tuple of str
        "kept" or a key of `DROP_REASONS`, for each of them.
    window_ncc : (T,) float32
        NCC of each of them; NaN if it was not computed.
    window_shift : (T,) float32
        Length of the measured shift of each of them, px, even if it was not applied; NaN for flat
        windows.
    """

    phone: NDArray[np.uint8]
    dslr: NDArray[np.uint8]
    ncc: NDArray[np.float32]
    xy: NDArray[np.int32]
    shift: NDArray[np.float32]
    angle: NDArray[np.float32]
    shift_error: NDArray[np.float32]
    window_xy: NDArray[np.int32]
    window_fate: tuple[str, ...]
    window_ncc: NDArray[np.float32]
    window_shift: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ncc)

    @property
    def tried(self) -> int:
        """Number of windows tried."""
        return len(self.window_fate)

    @property
    def dropped(self) -> dict[str, int]:
        """Number of windows dropped, by reason, in the order of `DROP_REASONS`."""
        counts = Counter(self.window_fate)
        return {reason: counts[reason] for reason in DROP_REASONS if counts[reason]}


@dataclass(frozen=True)
class _Window:
    """One window and its outcome.

    `measured` is the length of its measured shift, whether or not it is applied; `moved` is the
    patch of the adjusted photo, if there is one.
    """

    x: int
    y: int
    fate: str
    motion: Motion
    ncc: float = float("nan")
    flat: bool = False
    measured: float = float("nan")
    moved: NDArray[np.uint8] | None = None


@one_thread
def match_windows(
    phone: NDArray[np.uint8],
    dslr: NDArray[np.uint8],
    config: PatchConfig | None = None,
    known: NDArray[np.uint8] | None = None,
) -> Patches:
    """Cut matching windows from two aligned photos (paper, section II).

    The windows tile the photo that is not adjusted. Each is registered in the other photo to a
    fraction of a pixel, and cut there by resampling once. A window without enough texture to
    measure its shift stays where the alignment puts it.

    Parameters
    ----------
    phone, dslr : (H, W, 3) uint8
        RGB, aligned to within a few px.
    config : PatchConfig, optional
    known : (H, W) uint8, optional
        Validity of the alignment at each pixel, see `Surfaces.known`. By default it holds
        everywhere.

    Returns
    -------
    Patches
        Kept windows do not overlap in the phone photo.

    Raises
    ------
    TypeError
        If `phone`, `dslr` or `known` is not an array of uint8.
    ValueError
        If their shapes are not these, or they differ in height or width.
    """
    config = config or PatchConfig()
    check_photo("phone", phone)
    check_photo("dslr", dslr)
    if known is not None:
        check_mask("known", known)
    if phone.shape != dslr.shape:
        raise ValueError(f"phone {phone.shape} and DSLR {dslr.shape} differ in shape")
    if known is not None and known.shape != phone.shape[:2]:
        raise ValueError(f"known {known.shape} and phone {phone.shape} differ in shape")
    if config.adjust == "dslr":
        still, moving, gap = phone, dslr, 0
    else:
        still, moving, gap = dslr, phone, _PHONE_GAP
    matcher = _Matcher(still, moving, config, known)
    corners = window_grid(phone.shape[0], phone.shape[1], config.size, gap)
    windows = [matcher.match(x, y) for x, y in corners]
    if config.adjust == "phone":
        windows = _without_overlap(windows, config.size)
    windows = _with_flat_share(windows, config.flat_share)
    return _collect(windows, still, config)


def window_grid(height: int, width: int, size: int, gap: int = 0) -> list[tuple[int, int]]:
    """Corners (x, y) of the windows that tile the photo, row by row, centred."""
    across, down = ((length - 2 * _BORDER + gap) // (size + gap) for length in (width, height))
    left = (width - across * (size + gap) + gap) // 2
    top = (height - down * (size + gap) + gap) // 2
    return [
        (left + column * (size + gap), top + row * (size + gap))
        for row in range(max(down, 0))
        for column in range(max(across, 0))
    ]


class _Matcher:
    """Two photos prepared for matching their windows one by one."""

    def __init__(
        self,
        still: NDArray[np.uint8],
        moving: NDArray[np.uint8],
        config: PatchConfig,
        known: NDArray[np.uint8] | None,
    ) -> None:
        self.still, self.moving, self.config = still, moving, config
        self.still_luma = luma(still)
        self.template, self.target = Planes.of(self.still_luma), Planes.of(luma(moving))
        self.clipped = clipped_pixels(still), clipped_pixels(moving)
        self.to_prove: tuple[tuple[str, NDArray[np.bool_], float], ...] = ()
        if known is not None and (known == EDGE).any():
            self.to_prove = (
                (DEPTH, known == EDGE, _MAX_EDGE),
                (UNKNOWN, known != HOLDS, _MAX_DOUBTFUL),
            )
        elif known is not None:
            # Without depth there are hardly any occlusions, so cells without detail count as valid.
            self.to_prove = ((UNKNOWN, known == MISSING, _MAX_MISSING),)

    def match(self, x: int, y: int) -> _Window:
        config, size = self.config, self.config.size
        area = np.s_[y : y + size, x : x + size]
        clipped = max(np.count_nonzero(pixels[area]) for pixels in self.clipped)
        if clipped > config.max_clipped * size * size:
            return _Window(x, y, CLIPPED, Motion())

        motion = register(self.template, self.target, x, y, size, config.max_shift)
        flat = not motion.shift_error <= config.flat_error
        measured = math.nan if flat else math.hypot(*motion.shift)
        if flat or motion.evidence < _EVIDENCE:
            motion = Motion(shift_error=motion.shift_error)
        if max(map(abs, motion.shift)) > config.max_shift or abs(motion.angle) > config.max_angle:
            return _Window(x, y, TOO_FAR, motion, measured=measured)
        if not self._inside(x, y, motion):
            return _Window(x, y, OUTSIDE, motion, measured=measured)

        moved = self._cut(x, y, motion)
        here_luma, moved_luma = self.still_luma[area], luma(moved)
        if config.correlate == "luma":
            score = ncc(here_luma, moved_luma)
        else:
            score = _least_channel_ncc(self.still[area], moved)
        if not score > config.min_corr:
            return _Window(x, y, LOW_NCC, motion, score, flat, measured)
        if config.max_mismatch and worst_mismatch(here_luma, moved_luma) > config.max_mismatch:
            return _Window(x, y, MISMATCH, motion, score, flat, measured)
        fate = self._parts(x, y, motion)
        return _Window(x, y, fate, motion, score, flat, measured, moved if fate == KEPT else None)

    def _parts(self, x: int, y: int, motion: Motion) -> str:
        """The outcome of a window that matches as a whole, from its parts."""
        size, limit = self.config.size, self.config.max_part_shift
        if not limit:
            return KEPT
        area = np.s_[y : y + size, x : x + size]
        there = moved_window(self.target.full, motion, x, y, size)
        parts = compare_parts(self.template.full[area], there, limit)
        if parts.worst > limit:
            return PARTS
        if not self.to_prove:
            return KEPT
        # Where the alignment may not hold, the window's own detail must prove that it is in place.
        unproven = (~parts.proven).astype(np.uint8)
        unproven = cv2.resize(unproven, (size, size), interpolation=cv2.INTER_NEAREST)
        for fate, places, most in self.to_prove:
            if np.count_nonzero(unproven & places[area]) > most * size * size:
                return fate
        return KEPT

    def _inside(self, x: int, y: int, motion: Motion) -> bool:
        """Whether the moved window and its margin for interpolation are inside the photo."""
        height, width = self.moving.shape[:2]
        half = (self.config.size - 1) / 2
        reach = half * _turned_side(motion.angle) + 2  # bicubic: two pixels on each side
        cx, cy = x + half + motion.shift[0], y + half + motion.shift[1]
        return min(cx, cy) >= reach and cx + reach <= width - 1 and cy + reach <= height - 1

    def _cut(self, x: int, y: int, motion: Motion) -> NDArray[np.uint8]:
        size = self.config.size
        if motion.shift == (0.0, 0.0) and motion.angle == 0.0:
            return self.moving[y : y + size, x : x + size].copy()
        return np.asarray(
            cv2.warpAffine(
                self.moving,
                motion.matrix(x, y, size),
                (size, size),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )


def _least_channel_ncc(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    channels = zip(np.moveaxis(a, 2, 0), np.moveaxis(b, 2, 0), strict=True)
    return min(ncc(one.astype(np.float32), other.astype(np.float32)) for one, other in channels)


def _turned_side(angle: float) -> float:
    """Side of the bounding box of a unit square rotated by `angle` degrees."""
    return float(abs(np.cos(np.radians(angle))) + abs(np.sin(np.radians(angle))))


def _without_overlap(windows: list[_Window], size: int) -> list[_Window]:
    """Drop kept windows that, once moved, overlap one with a higher NCC."""
    kept = [n for n, window in enumerate(windows) if window.fate == KEPT]
    kept.sort(key=lambda n: -windows[n].ncc)
    centres = np.array([np.add((w.x, w.y), w.motion.shift) for w in windows])
    sides = np.array([size * _turned_side(w.motion.angle) for w in windows])
    result = list(windows)
    accepted: list[int] = []
    for n in kept:
        apart = np.abs(centres[accepted] - centres[n]).max(axis=1)
        if (apart < (sides[accepted] + sides[n]) / 2).any():
            result[n] = replace(windows[n], fate=OVERLAP, moved=None)
        else:
            accepted.append(n)
    return result


def _with_flat_share(windows: list[_Window], share: float) -> list[_Window]:
    """Drop kept flat windows, lowest NCC first, until their share is small enough."""
    flat = [n for n, window in enumerate(windows) if window.fate == KEPT and window.flat]
    others = sum(window.fate == KEPT for window in windows) - len(flat)
    allowed = len(flat) if share == 1 else int(others * share / (1 - share))
    flat.sort(key=lambda n: -windows[n].ncc)
    result = list(windows)
    for n in flat[allowed:]:
        result[n] = replace(windows[n], fate=FLAT, moved=None)
    return result


def _collect(windows: list[_Window], still: NDArray[np.uint8], config: PatchConfig) -> Patches:
    size = config.size
    kept = [window for window in windows if window.fate == KEPT]
    here = np.empty((len(kept), size, size, 3), np.uint8)
    moved = np.empty_like(here)
    for n, window in enumerate(kept):
        here[n] = still[window.y : window.y + size, window.x : window.x + size]
        assert window.moved is not None, "a kept window has its patch"
        moved[n] = window.moved
    phone, dslr = (here, moved) if config.adjust == "dslr" else (moved, here)
    motions = [window.motion for window in kept]
    return Patches(
        phone=phone,
        dslr=dslr,
        ncc=np.array([window.ncc for window in kept], np.float32),
        xy=np.array([(window.x, window.y) for window in kept], np.int32).reshape(-1, 2),
        shift=np.array([motion.shift for motion in motions], np.float32).reshape(-1, 2),
        angle=np.array([motion.angle for motion in motions], np.float32),
        shift_error=np.array([motion.shift_error for motion in motions], np.float32),
        window_xy=np.array([(w.x, w.y) for w in windows], np.int32).reshape(-1, 2),
        window_fate=tuple(window.fate for window in windows),
        window_ncc=np.array([window.ncc for window in windows], np.float32),
        window_shift=np.array([window.measured for window in windows], np.float32),
    )
