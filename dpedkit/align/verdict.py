"""Whether a pair is aligned, judged by what can be seen in the photos after alignment.

A wrong homography can have many inliers (repeated texture) and a right one few. What only a right
one has is detail that lies in place all over the overlap: blocks of the phone photo that correlate
with the DSLR photo where the map says, and whose remaining shift is a fraction of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.align.config import AlignConfig
from dpedkit.align.holding import Followed
from dpedkit.align.segment import SURFACES
from dpedkit.geometry import Rectangle

# Share of the detail: noise hides much of it, but only a wrong map contradicts nearly all.
_CONTRADICTED = 0.8
_COMPARABLE_NCC = 0.3  # cells that correlate less show different things, and have no shift
_STRONG_CONTRAST = 0.8
_CONTRADICTED_NCC = 0.3
_MIN_AGREEMENT = 0.7
_MAX_UNFOLLOWED = 0.5
_COVERAGE_GRID = (8, 6)
_SMALL_CROP = 0.25  # of the phone photo: below it, a warning
_LOW_COVERAGE = 0.25
_LITTLE_HELD = 0.5


@dataclass(frozen=True)
class Verification:
    """What the cells of a finished alignment show.

    Attributes
    ----------
    textured, verified : int
        Cells of 16 px with detail in both photos, and those whose detail lies in place.
    share : float
        Share of the detail that lies in place. Of one surface, at the largest working size or, if
        it is larger, at the smallest, where noise is averaged out.
    unfollowed : float
        Share of the detail that lies on none of the surfaces that were followed; 0 where there is
        one surface, which others may cover.
    holds : float
        Share of the crop where the map is known to hold.
    coverage : float
        Share of an 8 x 6 grid over the crop that holds a verified cell.
    residual_median, residual_p95 : float
        Of the remaining shifts, in phone px, of all textured cells that correlate at all.
    ncc : float
        Median normalised cross-correlation of the textured cells.
    points, shifts : (N, 2) array
        Those cells and their shifts, in phone px.
    """

    textured: int
    verified: int
    share: float
    unfollowed: float
    holds: float
    coverage: float
    residual_median: float
    residual_p95: float
    ncc: float
    points: NDArray[np.float64]
    shifts: NDArray[np.float64]


def verify(followed: Followed, share_small: float, crop: Rectangle) -> Verification:
    """Judge a finished alignment.

    Parameters
    ----------
    followed : Followed
    share_small : float
        Share of the detail that lies in place at the smallest working size.
    crop : tuple of int
        `(x, y, width, height)` in phone px.
    """
    grid, view = followed.grid, followed.view
    comparable = view.textured & (view.ncc > _COMPARABLE_NCC)
    shifts = view.shift[comparable] * grid.level.working_px
    length = np.linalg.norm(shifts, axis=1)
    median, p95 = np.percentile(length, [50, 95]) if len(length) else (np.inf, np.inf)
    textured, verified = view.textured, followed.verified
    share = followed.in_place
    if followed.model != SURFACES and followed.contradicted < _CONTRADICTED:
        share = max(share, share_small)
    return Verification(
        int(textured.sum()),
        int(verified.sum()),
        share,
        followed.contradicted if followed.model == SURFACES else 0.0,
        followed.surfaces.share_held(crop),
        _coverage(grid.phone_points(grid.centres[verified]), crop),
        float(median),
        float(p95),
        float(np.median(view.ncc[textured])) if textured.any() else 0.0,
        grid.phone_points(grid.centres[comparable]),
        shifts,
    )


@dataclass(frozen=True)
class Agreement:
    """How blocks with strong detail in both photos agree at the smallest working size.

    Noise is averaged out there, so that whatever is strong and differs shows another thing.

    Attributes
    ----------
    strong, contradicted : int
        Blocks with strong detail in both photos; those of them that do not correlate.
    differing : int
        Blocks with strong detail in either photo that do not correlate.
    """

    strong: int
    contradicted: int
    differing: int

    @property
    def share(self) -> float:
        """Share of the strong blocks that do not contradict; 1 where there are none."""
        return 1 - self.contradicted / self.strong if self.strong else 1.0


def agreement(blocks: Blocks) -> Agreement:
    """Count the strong blocks that agree."""
    unlike = blocks.ncc < _CONTRADICTED_NCC
    in_both = blocks.contrast.min(axis=1) > _STRONG_CONTRAST
    in_one = blocks.contrast.max(axis=1) > _STRONG_CONTRAST
    return Agreement(
        int(in_both.sum()), int((in_both & unlike).sum()), int((in_one & unlike).sum())
    )


def objection(
    verification: Verification,
    strong: Agreement,
    crop: Rectangle,
    overlap: float,
    working_px: float,
    config: AlignConfig,
) -> str:
    """Why the pair is rejected, in words; empty when it is accepted."""
    if verification.verified < config.min_verified:
        return (
            f"only {verification.verified} of {verification.textured} places with detail lie in "
            f"place after alignment ({config.min_verified} are needed): the photos show different "
            "scenes, or too little detail in common"
        )
    if verification.share < config.min_in_place:
        return (
            f"only {verification.share:.0%} of the detail lies in place after alignment (limit "
            f"{config.min_in_place:.0%}): the photos show different scenes, or depth that cannot "
            "be followed"
        )
    if verification.unfollowed > _MAX_UNFOLLOWED:
        return (
            f"{verification.unfollowed:.0%} of the detail lies on none of the surfaces that were "
            f"found (limit {_MAX_UNFOLLOWED:.0%}): the scene's depth cannot be followed"
        )
    if strong.share < _MIN_AGREEMENT:
        return (
            f"{strong.contradicted} of {strong.strong} places with strong detail show something "
            "else in the other photo: the scene has changed, or the scenes differ"
        )
    if verification.residual_median > config.max_residual * working_px:
        return (
            f"matching details are still {verification.residual_median:.2f} px apart "
            f"(limit {config.max_residual * working_px:.2f}): the scene's depth cannot be followed"
        )
    if overlap < config.min_overlap:
        return f"the photos share only {overlap:.0%} of the phone photo"
    if min(crop[2:]) < config.min_size:
        return f"what both photos show is only {crop[2]} x {crop[3]} px"
    return ""


def expected_error(followed: Followed) -> float:
    """How far the map is from the truth where it holds, by what noise does to the fit, phone px.

    The median over the verified cells: small surfaces with few cells are known far less well.
    """
    grid, verified = followed.grid, followed.verified
    if not verified.any():
        return float("inf")
    rigid = followed.fit.standard_error(grid.phone_points(grid.centres[verified]))
    displaced = followed.error[verified] * grid.level.working_px
    return float(np.median(np.hypot(rigid, displaced)))


def warnings(
    verification: Verification, crop: Rectangle, phone_size: tuple[int, int]
) -> tuple[str, ...]:
    """What a person should look at although the pair is accepted."""
    found = []
    share = crop[2] * crop[3] / (phone_size[0] * phone_size[1])
    if share < _SMALL_CROP:
        found.append(f"the crop is only {share:.0%} of the phone photo")
    if verification.coverage < _LOW_COVERAGE:
        found.append(f"detail lies in place in only {verification.coverage:.0%} of the crop")
    if verification.holds < _LITTLE_HELD:
        found.append(f"the map is known to hold in only {verification.holds:.0%} of the crop")
    return tuple(found)


def _coverage(points: NDArray[np.float64], crop: Rectangle) -> float:
    columns, rows = _COVERAGE_GRID
    place = (points - np.array(crop[:2])) * np.array(_COVERAGE_GRID) / np.maximum(crop[2:], 1)
    place = np.floor(place).astype(int)
    inside = ((place >= 0) & (place < np.array(_COVERAGE_GRID))).all(axis=1)
    cells = np.unique(place[inside, 1] * columns + place[inside, 0])
    return len(cells) / (columns * rows)
