"""A first homography from few, strong features on small images, retried at growing size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.align.features import Matcher
from dpedkit.geometry import apply_homography, resize_matrix, resize_points

LADDER_MP = (0.05, 0.25, 1.0)
_RANSAC_PX = 2.0  # of the small image; tighter is worse without local optimisation
_MIN_INLIERS = 8
MANY_INLIERS = 50
_MAX_ZOOM = 12.0  # phone and DSLR frames differ in scale by less than this


@dataclass(frozen=True)
class CoarseFit:
    """A homography and what it rests on.

    Attributes
    ----------
    phone_to_dslr : (3, 3) array or None
        In full-size pixels; None where no sane homography was found.
    phone_points, dslr_points : (N, 2) array
        The inliers, in full-size pixels.
    matches, phone_keypoints, dslr_keypoints : int
    megapixels : float
        Size of the small images.
    unbelievable : int
        Inliers of a homography that was not taken, since no pair of cameras sees that.
    """

    phone_to_dslr: NDArray[np.float64] | None
    phone_points: NDArray[np.float64]
    dslr_points: NDArray[np.float64]
    matches: int
    phone_keypoints: int
    dslr_keypoints: int
    megapixels: float
    unbelievable: int = 0


def coarse_fits(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8], matcher: Matcher
) -> Iterator[CoarseFit]:
    """Yield one fit for each rung of the ladder, from the smallest images up.

    Fits that rest on few matches come last: on larger images there may be more.

    Parameters
    ----------
    phone, dslr : (H, W) uint8 array
        Luma of the two photos, at full size; columns at the right and rows at the bottom may be
        missing.
    """
    weak = []
    for megapixels in LADDER_MP:
        fit = coarse_fit(phone, dslr, matcher, megapixels)
        if len(fit.phone_points) < MANY_INLIERS:
            weak.append(fit)
        else:
            yield fit
        if phone.size <= megapixels * 1e6 and dslr.size <= megapixels * 1e6:
            break
    yield from weak


def shrink(image: NDArray, megapixels: float) -> NDArray:
    """Reduce an image to at most `megapixels` by area averaging; smaller ones stay as they are."""
    height, width = image.shape[:2]
    scale = np.sqrt(megapixels * 1e6 / (width * height))
    if scale >= 1:
        return image
    # Even sizes can be halved again.
    size = (max(4, 4 * round(width * scale / 4)), max(4, 4 * round(height * scale / 4)))
    # By halves first: OpenCV averages 2 x 2 pixels ten times as fast as any other area.
    while image.shape[0] % 2 == image.shape[1] % 2 == 0 and image.shape[1] >= 2 * size[0]:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    # An explicit size: with fx and fy OpenCV samples at 1 / fx, not at the ratio of the sizes.
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def is_sane(
    phone_to_dslr: NDArray[np.float64], phone_size: tuple[int, int], dslr_size: tuple[int, int]
) -> bool:
    """Whether a homography can be that of two photos of one scene.

    It must keep the orientation, map the phone frame to a convex quadrilateral that meets the
    DSLR frame, and change the scale neither too much nor too unevenly over the frame.
    """
    width, height = phone_size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    depth = corners @ phone_to_dslr[2, :2] + phone_to_dslr[2, 2]
    if depth.min() <= 0.3 * depth.max():  # a horizon near the frame: no camera pair sees that
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
    """The fit by features of both photos reduced to at most `megapixels`; see `coarse_fits`."""
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
    if not is_sane(full, phone_size, dslr_size):
        return replace(result(None, nothing, nothing), unbelievable=int(inlier.sum()))
    kept = inlier.ravel().astype(bool)
    return result(
        full,
        resize_points(found.phone[kept], small_phone_size, phone_size),
        resize_points(found.dslr[kept], small_dslr_size, dslr_size),
    )
