"""`align_pair`: two photos in, two images that match pixel for pixel out, with the evidence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align import verdict
from dpedkit.align.coarse import CoarseFit, coarse_fits
from dpedkit.align.config import AlignConfig
from dpedkit.align.crop import Rectangle, largest_crop, overlap_share
from dpedkit.align.features import MATCHERS
from dpedkit.align.model import choose_model
from dpedkit.align.refine import NOISE_FACTOR, Level, levels, measure_blocks, refine
from dpedkit.align.resample import resample_dslr
from dpedkit.geometry import PairMap

_SHOWN_MATCHES = 150  # kept in the record for a report to draw
_SHOWN_RESIDUALS = 300
_FEW_KEYPOINTS = 30


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
    """
    config = config or AlignConfig()
    alignment = find_alignment(phone, dslr, config)
    if not alignment.accepted:
        return alignment
    assert alignment.map is not None
    clock = Clock()
    with clock.measuring("resample"):
        x, y, width, height = alignment.crop
        phone_crop = np.ascontiguousarray(phone[y : y + height, x : x + width])
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
    for name, photo in (("phone", phone), ("DSLR", dslr)):
        if min(photo.shape[:2]) < config.min_size:
            height, width = photo.shape[:2]
            return Alignment(f"the {name} photo is only {width} x {height} px")
    clock = Clock()
    grey_phone = cv2.cvtColor(phone, cv2.COLOR_RGB2GRAY)
    grey_dslr = cv2.cvtColor(dslr, cv2.COLOR_RGB2GRAY)
    sizes = (phone.shape[1], phone.shape[0]), (dslr.shape[1], dslr.shape[0])
    best: Alignment | None = None
    fits = coarse_fits(grey_phone, grey_dslr, MATCHERS[config.matcher])
    while True:
        with clock.measuring("coarse"):
            fit = next(fits, None)
        if fit is None:
            break
        if fit.phone_to_dslr is None:
            trial = Alignment(_why_no_homography(fit), evidence=_coarse_evidence(fit))
        else:
            start = PairMap(fit.phone_to_dslr, *sizes)
            trial = _refined(grey_phone, grey_dslr, fit, start, config, clock)
        if best is None or _verified(trial) >= _verified(best):
            best = trial
        if trial.accepted:
            break
    assert best is not None
    return replace(best, seconds=clock.seconds)


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


def _refined(
    phone: NDArray[np.uint8],
    dslr: NDArray[np.uint8],
    fit: CoarseFit,
    start: PairMap,
    config: AlignConfig,
    clock: Clock,
) -> Alignment:
    """Refine a coarse homography and judge what comes out."""
    evidence = _coarse_evidence(fit)
    with clock.measuring("refine"):
        pyramid = levels(phone, dslr, start, config.working_mp)
        rigid = refine(pyramid, start)
        if rigid is None:
            reason = (
                "the photos do not match in detail: the first fit does not hold on a closer look"
            )
            return Alignment(reason, evidence=evidence)
    with clock.measuring("model"):
        chosen = choose_model(pyramid, rigid, allow_field=config.field == "auto")
    with clock.measuring("verdict"):
        evidence |= {"model": chosen.model, "cross_validated": chosen.cross_validated}
        return _judged(pyramid[-1], chosen.map, evidence, config)


def _judged(
    level: Level, pair_map: PairMap, evidence: dict[str, Any], config: AlignConfig
) -> Alignment:
    crop, overlap = largest_crop(pair_map), overlap_share(pair_map)
    working_px = level.working_px(pair_map)
    found = verdict.verify(
        measure_blocks(level, pair_map, level.large_block), working_px, crop, NOISE_FACTOR
    )
    evidence |= {
        "textured": found.textured,
        "verified": found.verified,
        "coverage": round(found.coverage, 4),
        "overlap": round(overlap, 4),
        "residual_median": _finite(found.residual_median),
        "residual_p95": _finite(found.residual_p95),
        "ncc": round(found.ncc, 4),
        "residuals": _rounded(np.hstack([found.points, found.shifts]), _SHOWN_RESIDUALS, 3),
    }
    return Alignment(
        verdict.objection(found, crop, overlap, working_px, config),
        pair_map,
        crop,
        evidence=evidence,
        warnings=verdict.warnings(crop, pair_map.phone_size),
    )


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
