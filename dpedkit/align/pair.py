"""`align_pair`: from two photos to two images that match pixel for pixel, with the evidence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align import verdict
from dpedkit.align.blocks import Blocks
from dpedkit.align.config import AlignConfig
from dpedkit.align.detail import in_place_at
from dpedkit.align.features import (
    MANY_INLIERS,
    MATCHERS,
    CoarseFit,
    Matcher,
    coarse_fit,
    coarse_fits,
)
from dpedkit.align.model import fit_depth
from dpedkit.align.refine import (
    Level,
    blocks_of,
    levels,
    observe_level,
    refine,
    warped,
)
from dpedkit.align.validity import FittedMap
from dpedkit.align.verdict import distinguishes, edge_blur, second_fit
from dpedkit.core.arrays import check_photo
from dpedkit.core.process import one_thread
from dpedkit.geometry import PairMap, Rectangle
from dpedkit.resample import crop_phone, largest_crop, overlap_share, resample_dslr

_SHOWN_MATCHES = 150  # kept in the record, for the report to draw
_SHOWN_RESIDUALS = 300
_MULTIPLE = 8  # sides are cut to a multiple of this, since averaging whole 2 x 2 squares is fast
_MAX_SIDE = 32_766  # px: the limit of OpenCV's remap
_FEW_KEYPOINTS = 30
_MIN_DIFFERING = (
    0.005  # share of blocks with strong, differing detail that triggers the mirror test
)
_MIRRORED_GAIN = 1.1  # factor by which a mirrored photo must have more inliers
_SECOND_FIT = 0.8  # relative correlation at another shift from which on that shift is examined


@dataclass(frozen=True)
class Alignment:
    """The verdict on a pair, its evidence and, if the pair was accepted, the aligned images.

    Attributes
    ----------
    reason : str
        Why the pair was rejected; empty when it was accepted.
    map : PairMap or None
        From phone pixels to DSLR pixels; None if no map was found.
    crop : tuple of int
        `(x, y, width, height)` of the aligned images in the phone photo.
    phone, dslr : (height, width, 3) uint8 array or None
        The aligned images: the phone's original pixels, and the DSLR photo resampled to them.
    evidence : dict
        JSON-ready; see docs/formats.md.
    seconds : dict
        Time spent per step.
    warnings : tuple of str
    """

    reason: str
    map: PairMap | None = None
    crop: Rectangle = (0, 0, 0, 0)
    phone: NDArray[np.uint8] | None = None
    dslr: NDArray[np.uint8] | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.reason


@one_thread
def align_pair(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], config: AlignConfig | None = None
) -> Alignment:
    """Align two photos of one scene.

    Parameters
    ----------
    phone, dslr : (H, W, 3) uint8 array
        RGB, upright, each of its own size.
    config : AlignConfig, optional

    Returns
    -------
    Alignment
        If the photos cannot be aligned, it is rejected and states the reason; that raises nothing.

    Raises
    ------
    TypeError, ValueError
        If `phone` or `dslr` is not an array of this type or shape.
    """
    check_photo("phone", phone)
    check_photo("dslr", dslr)
    config = config or AlignConfig()
    alignment = find_alignment(phone, dslr, config)
    return with_images(alignment, phone, dslr) if alignment.accepted else alignment


@one_thread
def with_images(
    alignment: Alignment, phone: NDArray[np.uint8], dslr: NDArray[np.uint8]
) -> Alignment:
    """An alignment of these photos that has a map, with the aligned images."""
    assert alignment.map is not None
    clock = Clock()
    with clock.measuring("resample"):
        phone_crop = crop_phone(phone, alignment.crop)
        dslr_crop = resample_dslr(dslr, alignment.map, alignment.crop)
    return replace(
        alignment,
        phone=phone_crop,
        dslr=dslr_crop,
        seconds=alignment.seconds | clock.seconds,
    )


def find_alignment(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], config: AlignConfig
) -> Alignment:
    """The verdict, the map and the crop of `align_pair`, without the images."""
    clock = Clock()
    with clock.measuring("inspect"):
        photos = Photos.of(phone, dslr)
        reason, evidence = _inspect(photos, config)
    if reason:
        return Alignment(reason, evidence=evidence, seconds=clock.seconds)
    best: Alignment | None = None
    fits = coarse_fits(photos.phone, photos.dslr, MATCHERS[config.matcher])
    while True:
        with clock.measuring("coarse"):
            fit = next(fits, None)
        if fit is None:
            break
        if fit.phone_to_dslr is None:
            trial = Alignment(_no_homography_reason(fit), evidence=_coarse_evidence(fit))
        else:
            trial = _refined(photos, fit, config, clock)
        if best is None or _verified(trial) >= _verified(best):
            best = trial
        if trial.accepted:
            break
    assert best is not None
    return replace(best, evidence=evidence | best.evidence, seconds=clock.seconds)


@dataclass(frozen=True)
class Photos:
    """Luma of the two photos, ready to be compared.

    Attributes
    ----------
    phone, dslr : (H, W) uint8 array
        Without up to seven rows and columns at the end, so that both can be halved three times.
    phone_size, dslr_size : tuple of int
        `(width, height)` of the whole photos.
    """

    phone: NDArray[np.uint8]
    dslr: NDArray[np.uint8]
    phone_size: tuple[int, int]
    dslr_size: tuple[int, int]

    @classmethod
    def of(cls, phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> Self:
        """From `(H, W, 3) uint8` RGB."""
        luma = [cv2.cvtColor(_evenly_cut(photo), cv2.COLOR_RGB2GRAY) for photo in (phone, dslr)]
        (h, w), (dslr_h, dslr_w) = phone.shape[:2], dslr.shape[:2]
        return cls(luma[0], luma[1], (w, h), (dslr_w, dslr_h))

    def map_by(self, phone_to_dslr: NDArray[np.float64]) -> PairMap:
        """The map with this homography alone."""
        return PairMap(phone_to_dslr, self.phone_size, self.dslr_size)


class Clock:
    """Adds up the time spent in named steps, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measuring(self, step: str) -> Iterator[None]:
        """Add the time that the block takes to `step`."""
        started = time.perf_counter()
        yield
        spent = self.seconds.get(step, 0.0) + time.perf_counter() - started
        self.seconds[step] = round(spent, 4)


def _evenly_cut(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = (side - side % _MULTIPLE or side for side in photo.shape[:2])
    return photo[:height, :width]


def _inspect(photos: Photos, config: AlignConfig) -> tuple[str, dict[str, Any]]:
    """Why one of the photos is unusable, empty if neither is, and the blur of both."""
    evidence: dict[str, Any] = {}
    for name, photo in (("phone", photos.phone), ("dslr", photos.dslr)):
        title = "DSLR" if name == "dslr" else name
        width, height = photos.phone_size if name == "phone" else photos.dslr_size
        if min(width, height) < config.min_size:
            return f"the {title} photo is only {width} x {height} px", evidence
        if max(width, height) > _MAX_SIDE:
            return (
                f"the {title} photo is {width} x {height} px; the maximum side is {_MAX_SIDE} px",
                evidence,
            )
        blur = edge_blur(photo)
        if not np.isfinite(blur):
            return f"the {title} photo is blank", evidence
        evidence[f"{name}_blur"] = round(blur, 2)
        if blur > config.max_blur:
            return (
                f"the {title} photo is out of focus or blurred by camera shake: the blur of its "
                f"sharpest edges is {blur:.1f} px (limit {config.max_blur:g})",
                evidence,
            )
    return "", evidence


def _refined(photos: Photos, coarse: CoarseFit, config: AlignConfig, clock: Clock) -> Alignment:
    """Refine a coarse homography, fit the scene's depth, and judge the result."""
    assert coarse.phone_to_dslr is not None
    start = photos.map_by(coarse.phone_to_dslr)
    evidence = _coarse_evidence(coarse)
    with clock.measuring("refine"):
        pyramid = levels(photos.phone, photos.dslr, start, config.working_mp)
        rigid = refine(pyramid, start)
    if rigid is None:
        reason = "the initial homography cannot be refined: the photos do not match in detail"
        return Alignment(reason, evidence=evidence)
    try:
        with clock.measuring("depth"):
            fitted = fit_depth(pyramid, rigid, allow_depth=config.field == "auto")
    except np.linalg.LinAlgError:
        reason = "the shared detail lies in too narrow a strip to estimate the lens distortion"
        return Alignment(reason, evidence=evidence)
    with clock.measuring("verdict"):
        smallest = pyramid[0]
        cells = observe_level(smallest, fitted.map)
        here = blocks_of(cells, smallest)
        share = in_place_at(smallest, cells, fitted.map)
        judged = _judged(fitted, here, share, evidence, config)
        if judged.accepted:
            doubt = _ambiguity(photos, smallest, here, judged, MATCHERS[config.matcher])
            judged = replace(judged, reason=doubt)
    return judged


def _judged(
    fitted: FittedMap,
    small: Blocks,
    share_small: float,
    evidence: dict[str, Any],
    config: AlignConfig,
) -> Alignment:
    """The verdict, from the cells at the largest working size and from two results of the smallest
    one: its blocks, and the share of its detail that is in place."""
    pair_map, working_px = fitted.map, fitted.grid.level.working_px
    # Several surfaces have no common outline, so the dominant one decides.
    outline = replace(pair_map, surfaces=None)
    crop, overlap = largest_crop(outline), overlap_share(outline)
    found = verdict.verify(fitted, share_small, crop)
    strong = verdict.agreement(small)
    evidence |= {
        "model": fitted.model,
        "surfaces": fitted.surfaces.count,
        "textured": found.textured,
        "verified": found.verified,
        "in_place": round(found.share, 4),
        "holds": round(found.holds, 4),
        "strong": strong.strong,
        "agreement": round(strong.share, 4),
        "coverage": round(found.coverage, 4),
        "overlap": round(overlap, 4),
        "residual_median": _finite(found.residual_median),
        "residual_p95": _finite(found.residual_p95),
        "error": _finite(verdict.expected_error(fitted)),
        "ncc": round(found.ncc, 4),
        "residuals": _rounded(np.hstack([found.points, found.shifts]), _SHOWN_RESIDUALS, 3),
    }
    return Alignment(
        verdict.rejection_reason(found, strong, crop, overlap, working_px, config),
        pair_map,
        crop,
        evidence=evidence,
        warnings=verdict.warnings(found, crop, pair_map),
    )


def _ambiguity(
    photos: Photos, level: Level, here: Blocks, judged: Alignment, matcher: Matcher
) -> str:
    """Why an alignment that passed all tests is ambiguous; empty if it is not."""
    assert judged.map is not None
    if verdict.agreement(here).differing > _MIN_DIFFERING * len(here) and _fits_mirrored(
        photos, judged, matcher
    ):
        return "one of the photos is mirrored: flipped horizontally, they match far better"
    other = second_fit(level.phone, *warped(level, judged.map))
    judged.evidence["second_fit"] = round(other.ratio, 4)
    if other.ratio < _SECOND_FIT:
        return ""
    moved = refine([level], _shifted(judged.map, other.shift, level.working_px))
    if moved is None:
        return ""
    there = blocks_of(observe_level(level, moved.fit.map), level)
    if distinguishes(here, there):
        return ""
    x, y = (round(shift * level.working_px) for shift in other.shift)
    return f"repeated texture: the photos match equally well when one is shifted by ({x}, {y}) px"


def _fits_mirrored(photos: Photos, judged: Alignment, matcher: Matcher) -> bool:
    mirrored = np.ascontiguousarray(photos.phone[:, ::-1])
    fit = coarse_fit(mirrored, photos.dslr, matcher, judged.evidence["matching_mp"])
    return len(fit.phone_points) > _MIRRORED_GAIN * judged.evidence["inliers"]


def _shifted(pair_map: PairMap, shift: tuple[float, float], working_px: float) -> PairMap:
    """The map that shifts the warped DSLR photo by `shift` px of the working image."""
    move = np.eye(3)
    move[:2, 2] = -np.array(shift) * working_px
    return replace(pair_map, phone_to_dslr=pair_map.phone_to_dslr @ move, field=None, surfaces=None)


def _coarse_evidence(fit: CoarseFit) -> dict[str, Any]:
    points = np.hstack([fit.phone_points, fit.dslr_points])
    return {
        "phone_keypoints": fit.phone_keypoints,
        "dslr_keypoints": fit.dslr_keypoints,
        "matches": fit.matches,
        "inliers": len(fit.phone_points),
        "matching_mp": fit.megapixels,
        "inlier_matches": _rounded(points, _SHOWN_MATCHES, 1),
    }


def _no_homography_reason(fit: CoarseFit) -> str:
    for name, count in (("phone", fit.phone_keypoints), ("DSLR", fit.dslr_keypoints)):
        if count < _FEW_KEYPOINTS:
            return (
                f"the {name} photo has almost no detail ({count} keypoints): it is blank, too dark "
                "or out of focus"
            )
    if fit.implausible_inliers >= MANY_INLIERS:
        return (
            "the photos were taken from too far apart: the homography that "
            f"{fit.implausible_inliers} matches agree on implies too wide a baseline"
        )
    return (
        "the photos have too little in common: RANSAC found no plausible homography among "
        f"{fit.matches} matches"
    )


def _verified(alignment: Alignment) -> int:
    count: int = alignment.evidence.get("verified", -1)
    return count


def _finite(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _rounded(rows: NDArray[np.float64], limit: int, decimals: int) -> list[list[float]]:
    """At most `limit` evenly spaced rows, rounded."""
    step = max(1, -(-len(rows) // limit))
    kept: list[list[float]] = np.round(rows[::step], decimals).tolist()
    return kept
