"""Whether a pair is aligned, judged by what can be seen in the photos after alignment.

A wrong homography can have many inliers (repeated texture) and a right one few. What only a right
one has is detail that lies in place all over the overlap: blocks of the phone photo that correlate
with the DSLR photo where the map says, and whose remaining shift is a fraction of a pixel.

Tiles, bricks, a fence or rows of windows can match one period off, with many inliers. Then the
correlation of the two aligned images has a second peak nearly as high as the one at no shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.align.config import AlignConfig
from dpedkit.align.holding import Followed
from dpedkit.align.segment import SURFACES
from dpedkit.geometry import Rectangle

# Sharpness
_TILE = 64  # px: wide enough to hold both sides of an edge of 8 px blur
_TILES = 400  # looked at, at most; they sample the photo evenly
_OUTLIERS = 0.01  # of a tile's pixels may be brighter, and as many darker, than its contrast
_STRONG = 0.4  # of the largest contrast of a tile: fainter ones are mostly noise
_SHARPEST = 10  # percentile: most of a good photo may be sky or out of focus

# What the cells show
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

# Repeated texture
_SMOOTHING = 1.0  # px: detail smaller than this need not come back exactly for a texture to repeat
_NEAR = 6  # px: a shift smaller than this is the same place
_CLEARLY, _SLIGHTLY = 3.0, 0.05  # a block fits clearly worse when 1 - NCC grows by this
_UNIQUE = 3  # blocks that differ by chance: at the edges of moving things, in the sky
_MIN_LEFT = 0.4  # of the overlap must be left after a shift for its correlation to count


def edge_blur(grey: NDArray[np.uint8]) -> float:
    """Standard deviation in px of the blur of a photo's sharpest edges; inf where it has none.

    A step of height c, blurred by a Gaussian of deviation s, is nowhere steeper than
    c / (s sqrt(2 pi)). Detail finer than an edge, and noise, count as sharp.

    Parameters
    ----------
    grey : (H, W) uint8 array
    """
    tiles = _tiles(grey)
    ordered = np.sort(tiles.reshape(len(tiles), -1), axis=1, kind="stable")  # a radix sort
    edges = _OUTLIERS * ordered.shape[1]
    contrast = ordered[:, -1 - round(edges)].astype(np.float64) - ordered[:, round(edges)]
    strong = contrast > max(_STRONG * contrast.max(), 2.0)
    if not strong.any():
        return float("inf")
    # One tile below the other, without the rows where two of them meet
    column = tiles[strong].reshape(-1, tiles.shape[2]).astype(np.float32)
    smooth = cv2.blur(column, (3, 3))
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    steepness = cv2.magnitude(dx, dy).reshape(-1, *tiles.shape[1:])[:, 2:-2]
    steepest = steepness.max(axis=(1, 2))
    blur = contrast[strong] / (np.sqrt(2 * np.pi) * np.maximum(steepest, 1e-6))
    return float(np.percentile(blur, _SHARPEST))


def _tiles(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, tile, tile) tiles, evenly taken."""
    rows, columns = (max(1, side // _TILE) for side in grey.shape)
    height, width = (min(_TILE, side) for side in grey.shape)
    whole = grey[: rows * height, : columns * width].reshape(rows, height, columns, width)
    step = -(-rows * columns // _TILES)
    row, column = np.divmod(np.arange(0, rows * columns, step), columns)
    return whole[row, :, column]


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


@dataclass(frozen=True)
class SecondFit:
    """The best shift of one image besides none.

    Attributes
    ----------
    ratio : float
        Its correlation, relative to that of the images as they lie; near 1 it fits as well.
    shift : tuple of float
        `(x, y)` in px: the warped image, moved by this, fits the phone image.
    """

    ratio: float
    shift: tuple[float, float]


def second_fit(
    phone: NDArray[np.float32], warped: NDArray[np.float32], valid: NDArray[np.bool_]
) -> SecondFit:
    """Search all shifts for the second highest correlation.

    Parameters
    ----------
    phone, warped : (H, W) float32 array
        Locally normalised.
    valid : (H, W) bool array
        Where both show something.
    """
    mask = valid.astype(np.float32)
    first, second = (
        cv2.GaussianBlur(image, (0, 0), _SMOOTHING) * mask for image in (phone, warped)
    )
    # Far shifts come out folded into near ones, but even together they overlap too little to count.
    # NumPy's transform of single precision, not SciPy's: workers start sooner without its import.
    shape = [cv2.getOptimalDFTSize(int((2 - _MIN_LEFT) * side) + 2) for side in mask.shape]

    def correlate(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(np.fft.irfft2(a * np.conj(b), shape), np.float32)

    images = (first, second, first**2, second**2, mask)
    one, two, one_squared, two_squared, inside = (np.fft.rfft2(image, shape) for image in images)
    overlap = correlate(inside, inside)
    power = correlate(one_squared, inside) * correlate(inside, two_squared)
    ncc = correlate(one, two) / np.sqrt(np.maximum(power, 1e-3))
    here = float(ncc[0, 0])
    ncc[overlap < _MIN_LEFT * mask.sum()] = -1
    y, x = (np.round(np.fft.fftfreq(side, 1 / side)) for side in shape)
    ncc[np.ix_(np.abs(y) < _NEAR, np.abs(x) < _NEAR)] = -1
    row, column = np.unravel_index(ncc.argmax(), ncc.shape)
    return SecondFit(float(ncc.max()) / max(here, 1e-6), (float(x[column]), float(y[row])))


def tells_apart(here: Blocks, there: Blocks) -> bool:
    """Whether some detail fits in the one place and clearly not in the other.

    Parameters
    ----------
    here, there : Blocks
        The phone photo's blocks under the two maps.
    """
    shared = (here.points[:, None, :] == there.points[None, :, :]).all(axis=2)
    own, other = np.nonzero(shared)
    lost_here, lost_there = 1 - here.ncc[own], 1 - there.ncc[other]
    better = int((lost_there > _CLEARLY * lost_here + _SLIGHTLY).sum())
    worse = int((lost_here > _CLEARLY * lost_there + _SLIGHTLY).sum())
    return better > worse + _UNIQUE
