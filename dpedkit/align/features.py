"""An initial homography from keypoint matches on small images, retried on larger ones.

A matcher is a function from two grey images to `Matches`; `MATCHERS` lists the matchers by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import apply_homography, resize_matrix, resize_points

Grey = NDArray[np.uint8]

MAX_KEYPOINTS = 3000
_GRID = (8, 6)  # keypoints are spread over this many columns and rows
_SIFT_CONTRAST = 0.02  # half of OpenCV's default, for low-contrast phone photos of evening scenes
_RATIO = 0.8  # Lowe 2004, section 7.1
SIZES_MP = (0.05, 0.25, 1.0)
_RANSAC_PX = 2.0  # of the small image; measured: a tighter threshold is worse
_MIN_INLIERS = 8
MANY_INLIERS = 50
_MAX_ZOOM = 12.0  # scale between the phone frame and the DSLR frame, either way


@dataclass(frozen=True)
class Matches:
    """What a matcher found.

    Attributes
    ----------
    phone, dslr : (N, 2) array
        Matching points in px of the two images passed to the matcher.
    phone_keypoints, dslr_keypoints : int
        Number of keypoints in each image.
    """

    phone: NDArray[np.float64]
    dslr: NDArray[np.float64]
    phone_keypoints: int
    dslr_keypoints: int


Matcher = Callable[[Grey, Grey], Matches]


def match_sift(phone: Grey, dslr: Grey) -> Matches:
    """SIFT keypoints, RootSIFT descriptors, mutual nearest neighbours within Lowe's ratio.

    Sources: Lowe, IJCV 2004; Arandjelovic and Zisserman, CVPR 2012 (RootSIFT).
    """
    # Without precise upscaling, OpenCV's keypoints are a quarter of a pixel off.
    detector = cv2.SIFT.create(contrastThreshold=_SIFT_CONTRAST, enable_precise_upscale=True)
    found = []
    for image in (phone, dslr):
        points, descriptors = describe(detector, image)
        found.append((points, _root_sift(descriptors)))
    (phone_points, phone_descriptors), (dslr_points, dslr_descriptors) = found
    similarity = phone_descriptors @ dslr_descriptors.T
    # For unit vectors |a - b|^2 = 2 - 2 a.b
    return _mutual_matches(np.maximum(2 - 2 * similarity, 0), phone_points, dslr_points)


def match_orb(phone: Grey, dslr: Grey) -> Matches:
    """ORB keypoints with binary descriptors (Rublee et al., ICCV 2011)."""
    detector = cv2.ORB.create(nfeatures=2 * MAX_KEYPOINTS, fastThreshold=7)
    found = []
    for image in (phone, dslr):
        points, descriptors = describe(detector, image)
        signs = np.unpackbits(descriptors, axis=1).astype(np.float32) * 2 - 1
        found.append((points, signs))
    (phone_points, phone_bits), (dslr_points, dslr_bits) = found
    # The dot product of two sign vectors of n bits is n - 2 (Hamming distance), and the Hamming
    # distance of bits is their squared Euclidean distance.
    distances = (phone_bits.shape[1] - phone_bits @ dslr_bits.T) / 2
    return _mutual_matches(distances, phone_points, dslr_points)


MATCHERS: dict[str, Matcher] = {"sift": match_sift, "orb": match_orb}


def strongest_spread(
    points: NDArray[np.float64],
    strength: NDArray[np.float64],
    shape: tuple[int, ...],
    limit: int = MAX_KEYPOINTS,
) -> NDArray[np.int64]:
    """Indices of at most `limit` keypoints, the strongest of each cell of a grid over the image.

    Parameters
    ----------
    points : (N, 2) array
    strength : (N,) array
    shape : tuple of int
        Of the image, rows first.
    """
    if len(points) <= limit:
        return np.arange(len(points))
    grid = np.array(_GRID)
    place = np.floor(points * grid / np.array(shape[1::-1])).astype(np.int64)
    column, row = np.clip(place, 0, grid - 1).T
    cell = row * _GRID[0] + column
    order = np.lexsort((-strength, cell))
    starts = np.searchsorted(cell[order], np.arange(grid.prod()))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - starts[cell[order]]
    # Rank by rank through all cells, so cells with few keypoints leave room for others.
    return np.sort(np.lexsort((-strength, rank))[:limit])


def describe(detector: cv2.Feature2D, image: Grey) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Positions `(N, 2)` and descriptors `(N, D)` of the keypoints to match."""
    keypoints, descriptors = detector.detectAndCompute(image, None)
    if not keypoints:
        return np.zeros((0, 2)), np.zeros((0, detector.descriptorSize()), np.uint8)
    points = np.array([keypoint.pt for keypoint in keypoints], np.float64)
    strength = np.array([keypoint.response for keypoint in keypoints])
    kept = strongest_spread(points, strength, image.shape)
    return points[kept], descriptors[kept]


def _root_sift(descriptors: NDArray[Any]) -> NDArray[np.float32]:
    total = np.abs(descriptors).sum(axis=1, keepdims=True)
    return np.sqrt(descriptors / np.maximum(total, 1e-12))


def _mutual_matches(
    squared_distances: NDArray[np.float32],
    phone_points: NDArray[np.float64],
    dslr_points: NDArray[np.float64],
) -> Matches:
    """Pairs that are mutual nearest neighbours and pass the ratio test."""
    n_phone, n_dslr = squared_distances.shape
    if n_phone < 2 or n_dslr < 2:
        nothing = np.zeros((0, 2))
        return Matches(nothing, nothing, n_phone, n_dslr)
    nearest = squared_distances.argmin(axis=1)
    rows = np.arange(n_phone)
    best = squared_distances[rows, nearest]
    back = squared_distances.argmin(axis=0)
    without_best = squared_distances.copy()
    without_best[rows, nearest] = np.inf
    second = without_best.min(axis=1)
    good = (back[nearest] == rows) & (best < _RATIO**2 * second)
    return Matches(phone_points[good], dslr_points[nearest[good]], n_phone, n_dslr)


@dataclass(frozen=True)
class CoarseFit:
    """A homography and the matches that support it.

    Attributes
    ----------
    phone_to_dslr : (3, 3) array or None
        In full-size pixels; None if no plausible homography was found.
    phone_points, dslr_points : (N, 2) array
        The inliers, in full-size pixels.
    matches, phone_keypoints, dslr_keypoints : int
    megapixels : float
        Size of the small images.
    implausible_inliers : int
        Inliers of a homography that was discarded because it implies too wide a baseline.
    """

    phone_to_dslr: NDArray[np.float64] | None
    phone_points: NDArray[np.float64]
    dslr_points: NDArray[np.float64]
    matches: int
    phone_keypoints: int
    dslr_keypoints: int
    megapixels: float
    implausible_inliers: int = 0


def coarse_fits(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], matcher: Matcher
) -> Iterator[CoarseFit]:
    """Yield one fit per size in `SIZES_MP`, from the smallest images up.

    Fits with few inliers come last, since larger images may have more.

    Parameters
    ----------
    phone, dslr : (H, W) uint8 array
        Luma of the two photos, at full size; columns at the right and rows at the bottom may be
        missing.
    """
    weak = []
    for megapixels in SIZES_MP:
        fit = coarse_fit(phone, dslr, matcher, megapixels)
        if len(fit.phone_points) < MANY_INLIERS:
            weak.append(fit)
        else:
            yield fit
        if phone.size <= megapixels * 1e6 and dslr.size <= megapixels * 1e6:
            break
    yield from weak


def shrink(image: NDArray, megapixels: float) -> NDArray:
    """Reduce an image to at most `megapixels` by area averaging; smaller images are unchanged."""
    height, width = image.shape[:2]
    scale = np.sqrt(megapixels * 1e6 / (width * height))
    if scale >= 1:
        return image
    # Even sizes can be halved again.
    size = (max(4, 4 * round(width * scale / 4)), max(4, 4 * round(height * scale / 4)))
    # First by halves: OpenCV averages 2 x 2 pixels ten times as fast as other areas.
    while image.shape[0] % 2 == image.shape[1] % 2 == 0 and image.shape[1] >= 2 * size[0]:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    # An explicit size: with fx and fy OpenCV samples at 1 / fx, not at the ratio of the sizes.
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def is_plausible(
    phone_to_dslr: NDArray[np.float64], phone_size: tuple[int, int], dslr_size: tuple[int, int]
) -> bool:
    """Whether a homography is plausible for two cameras side by side.

    It must preserve orientation, map the phone frame to a convex quadrilateral that overlaps the
    DSLR frame, and change the scale neither too much nor too unevenly across the frame.
    """
    width, height = phone_size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    depth = corners @ phone_to_dslr[2, :2] + phone_to_dslr[2, 2]
    if depth.min() <= 0.3 * depth.max():  # the horizon is near the frame
        return False
    mapped = apply_homography(phone_to_dslr, corners)
    sides = np.roll(mapped, -1, axis=0) - mapped
    turns = sides[:, 0] * np.roll(sides, -1, axis=0)[:, 1]
    turns -= sides[:, 1] * np.roll(sides, -1, axis=0)[:, 0]
    if turns.min() <= 0:
        return False
    lengths = np.linalg.norm(sides, axis=1)
    scales = lengths / np.array([width - 1, height - 1, width - 1, height - 1])
    if scales.max() > 2.5 * scales.min():
        return False
    relative = scales.mean() * np.sqrt((width * height) / (dslr_size[0] * dslr_size[1]))
    if not 1 / _MAX_ZOOM < relative < _MAX_ZOOM:
        return False
    low, high = mapped.min(axis=0), mapped.max(axis=0)
    return bool((high > 0).all() and (low < np.array(dslr_size)).all())


def coarse_fit(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], matcher: Matcher, megapixels: float
) -> CoarseFit:
    """Fit to keypoint matches of both photos reduced to at most `megapixels`; see `coarse_fits`."""
    small_phone, small_dslr = shrink(phone, megapixels), shrink(dslr, megapixels)
    found = matcher(small_phone, small_dslr)
    nothing = np.zeros((0, 2))

    def result(
        homography: NDArray[np.float64] | None,
        phone_points: NDArray[np.float64],
        dslr_points: NDArray[np.float64],
    ) -> CoarseFit:
        return CoarseFit(
            homography,
            phone_points,
            dslr_points,
            len(found.phone),
            found.phone_keypoints,
            found.dslr_keypoints,
            megapixels,
        )

    if len(found.phone) < _MIN_INLIERS:
        return result(None, nothing, nothing)
    homography, inlier = cv2.findHomography(
        found.phone, found.dslr, cv2.USAC_ACCURATE, _RANSAC_PX, maxIters=5000, confidence=0.9999
    )
    if homography is None or inlier.sum() < _MIN_INLIERS:
        return result(None, nothing, nothing)
    sizes = [(image.shape[1], image.shape[0]) for image in (phone, dslr, small_phone, small_dslr)]
    phone_size, dslr_size, small_phone_size, small_dslr_size = sizes
    full = (
        resize_matrix(small_dslr_size, dslr_size)
        @ homography
        @ resize_matrix(phone_size, small_phone_size)
    )
    full /= full[2, 2]
    if not is_plausible(full, phone_size, dslr_size):
        return replace(result(None, nothing, nothing), implausible_inliers=int(inlier.sum()))
    kept = inlier.ravel().astype(bool)
    return result(
        full,
        resize_points(found.phone[kept], small_phone_size, phone_size),
        resize_points(found.dslr[kept], small_dslr_size, dslr_size),
    )
