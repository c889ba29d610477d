"""The alignment that every tutorial shows: SIFT at full size, FLANN, ratio test, RANSAC."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

RATIO = 0.75
RANSAC_PX = 5.0


def homography_of(phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The `(3, 3)` homography from phone to DSLR pixels, or None."""
    sift = cv2.SIFT_create()
    phone_keypoints, phone_descriptors = sift.detectAndCompute(_grey(phone), None)
    dslr_keypoints, dslr_descriptors = sift.detectAndCompute(_grey(dslr), None)
    if phone_descriptors is None or dslr_descriptors is None or len(dslr_keypoints) < 2:
        return None
    flann = cv2.FlannBasedMatcher({"algorithm": 1, "trees": 5}, {"checks": 50})
    good = [
        first
        for first, second in flann.knnMatch(phone_descriptors, dslr_descriptors, k=2)
        if first.distance < RATIO * second.distance
    ]
    if len(good) < 4:
        return None
    source = np.array([phone_keypoints[match.queryIdx].pt for match in good])
    target = np.array([dslr_keypoints[match.trainIdx].pt for match in good])
    return cv2.findHomography(source, target, cv2.RANSAC, RANSAC_PX)[0]


def align(
    phone: NDArray[np.uint8], dslr: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Both photos, the DSLR's warped to the phone's frame."""
    homography = homography_of(phone, dslr)
    if homography is None:
        return None
    size = (phone.shape[1], phone.shape[0])
    return phone, cv2.warpPerspective(dslr, np.linalg.inv(homography), size)


def _grey(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
