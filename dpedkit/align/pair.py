"""`align_pair`: two photos in, two images that match pixel for pixel out, with the evidence."""

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
from dpedkit.align.holding import Followed
from dpedkit.align.model import follow
from dpedkit.align.refine import (
    Level,
    blocks_of,
    levels,
    observe_level,
    refine,
    warped,
)
from dpedkit.align.verdict import edge_blur, second_fit, tells_apart
from dpedkit.core.arrays import check_photo
from dpedkit.core.process import one_thread
from dpedkit.geometry import PairMap, Rectangle
from dpedkit.resample import crop_phone, largest_crop, overlap_share, resample_dslr

_SHOWN_MATCHES = 150  # kept in the record for a report to draw
_SHOWN_RESIDUALS = 300
_HALVED = 8  # photos are cut to a multiple of this: averaging whole 2 x 2 squares is fast
_LONGEST = 32_766  # px of a side: what OpenCV resamples
_FEW_KEYPOINTS = 30
_SAME = 0.005  # share of blocks with strong detail that may differ without asking why
_MORE = 1.1  # inliers of the mirrored photo, as a factor, that are more than chance
_SECOND_FIT = 0.8  # correlation of another shift, relative, that has to be looked into


@dataclass(frozen=True)
class Alignment:
    """The verdict on a pair, what it rests on, and, if it was accepted, the aligned images.

    Attributes
    ----------
    reason : str
        Why the pair was rejected; empty when it was accepted.
    map : PairMap or None
        How phone pixels map to DSLR pixels; None where none was found.
    crop : tuple of int
        `(x, y, width, height)` of the aligned images in the phone photo.
    phone, dslr : (height, width, 3) uint8 array or None
        The aligned images: the phone's own pixels, and the DSLR photo resampled to them.
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
        Rejected with its reason when the photos cannot be aligned; nothing is raised for that.

    Raises
    ------
    TypeError, ValueError
        If `phone` or `dslr` is not such an array.
    """
    check_photo("phone", phone)
    check_photo("dslr", dslr)
    config = config or AlignConfig()
    alignment = find_alignment(phone, dslr, config)
    if not alignment.accepted:
        return alignment
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
            trial = Alignment(_why_no_homography(fit), evidence=_coarse_evidence(fit))
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
    """Luma of the two photos, as it is compared.

    Attributes
    ----------
    phone, dslr : (H, W) uint8 array
        Without the last few rows and columns, so that they can be halved exactly several times.
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
    """Adds up the seconds spent in named steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measuring(self, step: str) -> Iterator[None]:
        """Count the time of the block to `step`."""
        started = time.perf_counter()
        yield
        spent = self.seconds.get(step, 0.0) + time.perf_counter() - started
        self.seconds[step] = round(spent, 4)


def _evenly_cut(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = (side - side % _HALVED or side for side in photo.shape[:2])
    return photo[:height, :width]


def _inspect(photos: Photos, config: AlignConfig) -> tuple[str, dict[str, Any]]:
    """Why one photo by itself cannot be used, if so, and how sharp both are."""
    evidence: dict[str, Any] = {}
    for name, photo in (("phone", photos.phone), ("dslr", photos.dslr)):
        title = "DSLR" if name == "dslr" else name
        width, height = photos.phone_size if name == "phone" else photos.dslr_size
        if min(width, height) < config.min_size:
            return f"the {title} photo is only {width} x {height} px", evidence
        if max(width, height) > _LONGEST:
            return f"the {title} photo is {width} x {height} px: {_LONGEST} is the most", evidence
        blur = edge_blur(photo)
        if not np.isfinite(blur):
            return f"the {title} photo is blank", evidence
        evidence[f"{name}_blur"] = round(blur, 2)
        if blur > config.max_blur:
            return (
                f"the {title} photo is out of focus or shaken: its sharpest edges are blurred by "
                f"{blur:.1f} px (limit {config.max_blur:g})",
                evidence,
            )
    return "", evidence


def _refined(photos: Photos, coarse: CoarseFit, config: AlignConfig, clock: Clock) -> Alignment:
    """Refine a coarse homography, follow the scene's depth, and judge what comes out."""
    assert coarse.phone_to_dslr is not None
    start = photos.map_by(coarse.phone_to_dslr)
    evidence = _coarse_evidence(coarse)
    with clock.measuring("refine"):
        pyramid = levels(photos.phone, photos.dslr, start, config.working_mp)
        rigid = refine(pyramid, start)
    if rigid is None:
        reason = "the photos do not match in detail: the first fit does not hold on a closer look"
        return Alignment(reason, evidence=evidence)
    try:
        with clock.measuring("depth"):
            followed = follow(pyramid, rigid, allow_depth=config.field == "auto")
    except np.linalg.LinAlgError:
        reason = "the detail in common lies in too narrow a strip to determine the lens"
        return Alignment(reason, evidence=evidence)
    with clock.measuring("verdict"):
        smallest = pyramid[0]
        cells = observe_level(smallest, followed.map)
        here = blocks_of(cells, smallest)
        share = in_place_at(smallest, cells, followed.map)
        judged = _judged(followed, here, share, evidence, config)
        if judged.accepted:
            doubt = _doubt(photos, smallest, here, judged, MATCHERS[config.matcher])
            judged = replace(judged, reason=doubt)
    return judged


def _judged(
    followed: Followed,
    small: Blocks,
    share_small: float,
    evidence: dict[str, Any],
    config: AlignConfig,
) -> Alignment:
    """The verdict by the cells of the largest working size, and by what the smallest shows: its
    blocks, and the share of its detail that lies in place."""
    pair_map, working_px = followed.map, followed.grid.level.working_px
    # Where surfaces are displaced against each other, the dominant one decides.
    outline = replace(pair_map, surfaces=None)
    crop, overlap = largest_crop(outline), overlap_share(outline)
    found = verdict.verify(followed, share_small, crop)
    strong = verdict.agreement(small)
    evidence |= {
        "model": followed.model,
        "surfaces": followed.surfaces.count,
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
        "error": _finite(verdict.expected_error(followed)),
        "ncc": round(found.ncc, 4),
        "residuals": _rounded(np.hstack([found.points, found.shifts]), _SHOWN_RESIDUALS, 3),
    }
    return Alignment(
        verdict.objection(found, strong, crop, overlap, working_px, config),
        pair_map,
        crop,
        evidence=evidence,
        warnings=verdict.warnings(found, crop, pair_map.phone_size),
    )


def _doubt(photos: Photos, level: Level, here: Blocks, judged: Alignment, matcher: Matcher) -> str:
    """Why an alignment that looks right may be wrong all the same, in words, or nothing."""
    assert judged.map is not None
    if verdict.agreement(here).differing > _SAME * len(here) and _fits_mirrored(
        photos, judged, matcher
    ):
        return "one of the photos is mirrored: turned over, they match far better"
    other = second_fit(level.phone, *warped(level, judged.map))
    judged.evidence["second_fit"] = round(other.ratio, 4)
    if other.ratio < _SECOND_FIT:
        return ""
    moved = refine([level], _shifted(judged.map, other.shift, level.working_px))
    if moved is None:
        return ""
    there = blocks_of(observe_level(level, moved.fit.map), level)
    if tells_apart(here, there):
        return ""
    x, y = (round(shift * level.working_px) for shift in other.shift)
    return f"repeated texture: the photos fit as well when one is moved by ({x}, {y}) px"


def _fits_mirrored(photos: Photos, judged: Alignment, matcher: Matcher) -> bool:
    mirrored = np.ascontiguousarray(photos.phone[:, ::-1])
    fit = coarse_fit(mirrored, photos.dslr, matcher, judged.evidence["matching_mp"])
    return len(fit.phone_points) > _MORE * judged.evidence["inliers"]


def _shifted(pair_map: PairMap, shift: tuple[float, float], working_px: float) -> PairMap:
    """The map after which the DSLR photo lies moved by `shift` px of the working image."""
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


def _why_no_homography(fit: CoarseFit) -> str:
    for name, count in (("phone", fit.phone_keypoints), ("DSLR", fit.dslr_keypoints)):
        if count < _FEW_KEYPOINTS:
            return (
                f"the {name} photo shows almost no detail ({count} keypoints): it is blank, dark "
                "or out of focus"
            )
    if fit.unbelievable >= MANY_INLIERS:
        return (
            "the photos are taken from too far apart: their "
            f"{fit.unbelievable} matching keypoints agree on a view that two cameras side by side "
            "do not have"
        )
    return (
        f"the photos have too little in common: of {fit.matches} matching keypoints no "
        "believable set agrees on one view"
    )


def _verified(alignment: Alignment) -> int:
    count: int = alignment.evidence.get("verified", -1)
    return count


def _finite(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _rounded(rows: NDArray[np.float64], limit: int, decimals: int) -> list[list[float]]:
    """At most `limit` rows, evenly taken, rounded."""
    step = max(1, -(-len(rows) // limit))
    kept: list[list[float]] = np.round(rows[::step], decimals).tolist()
    return kept
