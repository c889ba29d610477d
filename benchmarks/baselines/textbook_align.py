"""The alignment that every tutorial shows: SIFT at full size, FLANN, ratio test, RANSAC."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

RATIO = 0.75
RANSAC_PX = 5.0

Points = NDArray[np.float64]
Photo = NDArray[np.uint8]


def matches_of(phone: Photo, dslr: Photo) -> tuple[Points, Points] | None:
    """Points `(N, 2)` of the phone photo and those of the DSLR photo they match; None below 4."""
    sift = cv2.SIFT_create()
    phone_keypoints, phone_descriptors = sift.detectAndCompute(grey(phone), None)
    dslr_keypoints, dslr_descriptors = sift.detectAndCompute(grey(dslr), None)
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
    return source, target


def by_ransac(source: Points, target: Points) -> NDArray[np.float64] | None:
    """The `(3, 3)` homography from phone to DSLR pixels, or None."""
    return cv2.findHomography(source, target, cv2.RANSAC, RANSAC_PX)[0]


def homography_of(phone: Photo, dslr: Photo) -> NDArray[np.float64] | None:
    """The `(3, 3)` homography from phone to DSLR pixels, or None."""
    matches = matches_of(phone, dslr)
    return None if matches is None else by_ransac(*matches)


def warped(dslr: Photo, homography: NDArray[np.float64], phone: Photo) -> Photo:
    """The DSLR photo in the phone photo's frame."""
    size = (phone.shape[1], phone.shape[0])
    return cv2.warpPerspective(dslr, np.linalg.inv(homography), size)


def grey(photo: Photo) -> Photo:
    return cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
