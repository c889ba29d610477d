"""Point pairs between two small grey images: keypoints, descriptors, matches.

A matcher is a function of two grey images that returns `Matches`; `MATCHERS` lists them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

MAX_KEYPOINTS = 3000
_GRID = (8, 6)  # keypoints are spread over this many columns and rows
_SIFT_CONTRAST = 0.02  # half of OpenCV's default: phone photos of evening scenes are flat
_RATIO = 0.8  # Lowe 2004, section 7.1


@dataclass(frozen=True)
class Matches:
    """What a matcher found.

    Attributes
    ----------
    phone, dslr : (N, 2) array
        Matching points in px of the two images that the matcher was given.
    phone_keypoints, dslr_keypoints : int
        How many keypoints there were to match.
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
    # Rank by rank through all cells: cells with few keypoints leave room for the others.
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
    """Pairs that are each other's nearest neighbour and clearly nearer than the second nearest."""
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
