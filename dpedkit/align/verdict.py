"""Decide whether a pair is aligned, from the photos after alignment.

The number of inliers does not decide: a wrong homography can have many (repeated texture), and a
right one few. Only a right one brings detail into place all over the overlap: cells of the phone
photo that correlate with the DSLR photo, with a residual shift of a fraction of a pixel.

Repeated texture (tiles, bricks, fences, rows of windows) can match one period off. Then the
cross-correlation of the aligned images has a second peak nearly as high as the one at zero shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.blocks import Blocks
from dpedkit.align.config import AlignConfig
from dpedkit.align.segment import SURFACES
from dpedkit.align.validity import FittedMap
from dpedkit.geometry import PairMap, Rectangle, centre_of

# Sharpness
_TILE = 64  # px: wide enough for both sides of an edge with a blur of 8 px
_TILES = 400  # maximum; they sample the photo evenly
_OUTLIERS = 0.01  # share of a tile's pixels that its contrast ignores at either end
_STRONG = 0.4  # minimum contrast of a tile, relative to the largest; weaker ones are mostly noise
_SHARPEST = 10  # percentile; most of a good photo may be sky or out of focus

# What the cells show
# Share of the detail: noise may hide much of it, but only a wrong map contradicts nearly all of it.
_CONTRADICTED = 0.8
_COMPARABLE_NCC = 0.3  # cells with a lower NCC show different things, so their shift is meaningless
_STRONG_CONTRAST = 0.8
_CONTRADICTED_NCC = 0.3
_MIN_AGREEMENT = 0.7
_MAX_UNEXPLAINED = 0.4
_COVERAGE_GRID = (8, 6)
# Thresholds of warnings
_SMALL_CROP = 0.25  # of the phone photo
_LOW_COVERAGE = 0.25
_LOW_VALIDITY = 0.5
_LOW_SCALE = 0.7  # DSLR px per phone px

# Repeated texture
_SMOOTHING = 1.0  # px: finer detail need not repeat exactly
_NEAR = 6  # px: smaller shifts belong to the peak at zero shift
_CLEARLY, _SLIGHTLY = 3.0, 0.05  # factor and offset by which 1 - NCC of a block is clearly worse
_UNIQUE = 3  # blocks that may differ by chance: at the edges of moving objects, in the sky
_MIN_LEFT = 0.4  # share of the overlap that must remain after a shift


def edge_blur(grey: NDArray[np.uint8]) -> float:
    """Blur of a photo's sharpest edges as a standard deviation in px; inf if it has no edges.

    A step of height c, blurred by a Gaussian of standard deviation s, has a maximum slope of
    c / (s sqrt(2 pi)). Detail finer than an edge counts as sharp, and so does noise.

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
    # The tiles are stacked, so the rows where two of them meet are left out below.
    column = tiles[strong].reshape(-1, tiles.shape[2]).astype(np.float32)
    smooth = cv2.blur(column, (3, 3))
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    steepness = cv2.magnitude(dx, dy).reshape(-1, *tiles.shape[1:])[:, 2:-2]
    steepest = steepness.max(axis=(1, 2))
    blur = contrast[strong] / (np.sqrt(2 * np.pi) * np.maximum(steepest, 1e-6))
    return float(np.percentile(blur, _SHARPEST))


def _tiles(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, tile, tile) evenly spaced tiles."""
    rows, columns = (max(1, side // _TILE) for side in grey.shape)
    height, width = (min(_TILE, side) for side in grey.shape)
    whole = grey[: rows * height, : columns * width].reshape(rows, height, columns, width)
    step = -(-rows * columns // _TILES)
    row, column = np.divmod(np.arange(0, rows * columns, step), columns)
    return whole[row, :, column]


@dataclass(frozen=True)
class Verification:
    """Statistics of the cells of a finished alignment.

    Attributes
    ----------
    textured, verified : int
        Cells of 16 px with detail in both photos, and those of them that are in place.
    share : float
        Share of the detail that is in place. For one surface, the larger of the shares at the
        largest working size and at the smallest one, where noise is averaged out.
    unexplained : float
        Share of the detail that is on none of several surfaces; 0 for one surface.
    holds : float
        Share of the crop where the map is known to hold.
    coverage : float
        Share of the tiles of an 8 x 6 grid over the crop that contain a verified cell.
    residual_median, residual_p95 : float
        Of the residual shifts, in phone px, of all textured cells that correlate.
    ncc : float
        Median normalised cross-correlation of the textured cells.
    points, shifts : (N, 2) array
        The textured cells that correlate, and their residual shifts, in phone px.
    """

    textured: int
    verified: int
    share: float
    unexplained: float
    holds: float
    coverage: float
    residual_median: float
    residual_p95: float
    ncc: float
    points: NDArray[np.float64]
    shifts: NDArray[np.float64]


def verify(fitted: FittedMap, share_small: float, crop: Rectangle) -> Verification:
    """Collect the statistics of a finished alignment.

    Parameters
    ----------
    fitted : FittedMap
    share_small : float
        Share of the detail that is in place at the smallest working size.
    crop : tuple of int
        `(x, y, width, height)` in phone px.
    """
    grid, view = fitted.grid, fitted.view
    comparable = view.textured & (view.ncc > _COMPARABLE_NCC)
    shifts = view.shift[comparable] * grid.level.working_px
    length = np.linalg.norm(shifts, axis=1)
    median, p95 = np.percentile(length, [50, 95]) if len(length) else (np.inf, np.inf)
    textured, verified = view.textured, fitted.verified
    share = fitted.in_place
    if fitted.model != SURFACES and fitted.contradicted < _CONTRADICTED:
        share = max(share, share_small)
    return Verification(
        int(textured.sum()),
        int(verified.sum()),
        share,
        fitted.contradicted if fitted.model == SURFACES else 0.0,
        fitted.surfaces.share_held(crop),
        _coverage(grid.phone_points(grid.centres[verified]), crop),
        float(median),
        float(p95),
        float(np.median(view.ncc[textured])) if textured.any() else 0.0,
        grid.phone_points(grid.centres[comparable]),
        shifts,
    )


@dataclass(frozen=True)
class Agreement:
    """How many blocks with strong detail match at the smallest working size.

    Noise is averaged out there, so strong blocks that do not correlate show different things.

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
        """Share of the strong blocks that are not contradicted; 1 if there are none."""
        return 1 - self.contradicted / self.strong if self.strong else 1.0


def agreement(blocks: Blocks) -> Agreement:
    """Count the strong blocks and those that do not correlate."""
    unlike = blocks.ncc < _CONTRADICTED_NCC
    in_both = blocks.contrast.min(axis=1) > _STRONG_CONTRAST
    in_one = blocks.contrast.max(axis=1) > _STRONG_CONTRAST
    return Agreement(
        int(in_both.sum()), int((in_both & unlike).sum()), int((in_one & unlike).sum())
    )


def rejection_reason(
    verification: Verification,
    strong: Agreement,
    crop: Rectangle,
    overlap: float,
    working_px: float,
    config: AlignConfig,
) -> str:
    """Why the pair is rejected; empty if it is accepted."""
    if verification.verified < config.min_verified:
        return (
            f"only {verification.verified} of {verification.textured} cells with detail are in "
            f"place after alignment (minimum {config.min_verified}): the photos show different "
            "scenes, or share too little detail"
        )
    if verification.share < config.min_in_place:
        return (
            f"only {verification.share:.0%} of the detail is in place after alignment (minimum "
            f"{config.min_in_place:.0%}): the photos show different scenes, or the map cannot "
            "follow the scene's depth"
        )
    if verification.unexplained > _MAX_UNEXPLAINED:
        return (
            f"{verification.unexplained:.0%} of the detail is on none of the surfaces that were "
            f"found (limit {_MAX_UNEXPLAINED:.0%}): the map cannot follow the scene's depth"
        )
    if strong.share < _MIN_AGREEMENT:
        return (
            f"{strong.contradicted} of {strong.strong} blocks with strong detail do not match: the "
            "scene has changed, or the photos show different scenes"
        )
    if verification.residual_median > config.max_residual * working_px:
        return (
            f"matching details are still {verification.residual_median:.2f} px apart "
            f"(limit {config.max_residual * working_px:.2f}): the map cannot follow the scene's "
            "depth"
        )
    if overlap < config.min_overlap:
        return (
            f"the DSLR photo covers only {overlap:.0%} of the phone photo (minimum "
            f"{config.min_overlap:.0%})"
        )
    if min(crop[2:]) < config.min_size:
        return f"the overlap of the photos is only {crop[2]} x {crop[3]} px"
    return ""


def expected_error(fitted: FittedMap) -> float:
    """Expected error of the map in phone px, from the covariance of the fit.

    The median over the verified cells, since small surfaces with few cells are far less certain.
    """
    grid, verified = fitted.grid, fitted.verified
    if not verified.any():
        return float("inf")
    rigid = fitted.fit.standard_error(grid.phone_points(grid.centres[verified]))
    displaced = fitted.error[verified] * grid.level.working_px
    return float(np.median(np.hypot(rigid, displaced)))


def warnings(verification: Verification, crop: Rectangle, pair_map: PairMap) -> tuple[str, ...]:
    """What to check by eye although the pair is accepted."""
    found = []
    width, height = pair_map.phone_size
    share = crop[2] * crop[3] / (width * height)
    if share < _SMALL_CROP:
        found.append(f"the crop is only {share:.0%} of the phone photo")
    if verification.coverage < _LOW_COVERAGE:
        found.append(f"detail is in place in only {verification.coverage:.0%} of the crop")
    if verification.holds < _LOW_VALIDITY:
        found.append(f"the map is known to hold in only {verification.holds:.0%} of the crop")
    scale = pair_map.scale_at(centre_of(pair_map.phone_size))
    if scale < _LOW_SCALE:
        reduced = f"{scale * width:.0f} x {scale * height:.0f} px"
        found.append(
            f"the DSLR photo had to be enlarged {1 / scale:.1f} times and is blurred: use a larger "
            f"version of it, or reduce the phone photo to {reduced}"
        )
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
    """The best shift of one image other than zero.

    Attributes
    ----------
    ratio : float
        Its correlation relative to that at zero shift; near 1, it matches equally well.
    shift : tuple of float
        `(x, y)` in px: the warped image, shifted by this, matches the phone image.
    """

    ratio: float
    shift: tuple[float, float]


def second_fit(
    phone: NDArray[np.float32], warped: NDArray[np.float32], valid: NDArray[np.bool_]
) -> SecondFit:
    """Search all shifts for the second highest peak of the cross-correlation.

    Parameters
    ----------
    phone, warped : (H, W) float32 array
        Locally normalised.
    valid : (H, W) bool array
        Where both images are covered.
    """
    mask = valid.astype(np.float32)
    first, second = (
        cv2.GaussianBlur(image, (0, 0), _SMOOTHING) * mask for image in (phone, warped)
    )
    # Large shifts wrap around to small ones, but even together they overlap too little to count.
    # NumPy's FFT rather than SciPy's, since workers start faster without that import.
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


def distinguishes(here: Blocks, there: Blocks) -> bool:
    """Whether some detail matches at one shift and clearly not at the other.

    Parameters
    ----------
    here, there : Blocks
        Blocks of the phone photo under the two maps.
    """
    shared = (here.points[:, None, :] == there.points[None, :, :]).all(axis=2)
    own, other = np.nonzero(shared)
    lost_here, lost_there = 1 - here.ncc[own], 1 - there.ncc[other]
    better = int((lost_there > _CLEARLY * lost_here + _SLIGHTLY).sum())
    worse = int((lost_here > _CLEARLY * lost_there + _SLIGHTLY).sum())
    return better > worse + _UNIQUE
