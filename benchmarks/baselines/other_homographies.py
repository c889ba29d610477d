"""Other ways to a homography from phone to DSLR pixels: from matches, from pixels, from scratch.

Each takes points `(N, 2)` or photos `(H, W, 3) uint8` and returns a `(3, 3)` float64 array, or None
where it finds none. The peers' modules are passed in, because they may be absent.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import cv2
import numpy as np
from baselines.textbook_align import RANSAC_PX, RATIO, Photo, Points, grey
from numpy.typing import NDArray

Homography = NDArray[np.float64]

ECC_STEPS, ECC_CHANGE, ECC_BLUR = 50, 1e-6, 5
KORNIA_FEATURES = 2000


def by_dlt(source: Points, target: Points) -> Homography | None:
    """Direct linear transform of all matches, wrong ones included (Hartley and Zisserman, 4.1).

    Points are normalised to a mean of zero and a mean distance of sqrt(2); the least-squares
    solution is the last singular vector.
    """
    from_source, from_target = _normalisation(source), _normalisation(target)
    (x, y), (u, v) = _mapped(from_source, source).T, _mapped(from_target, target).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate(
        [
            np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], axis=1),
            np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], axis=1),
        ]
    )
    solution = np.linalg.svd(rows, full_matrices=False)[2][-1].reshape(3, 3)
    found: Homography = np.linalg.inv(from_target) @ solution @ from_source
    return found / found[2, 2] if abs(np.linalg.det(found)) > 0 else None


def _normalisation(points: Points) -> Homography:
    centre = points.mean(axis=0)
    scale = np.sqrt(2) / np.linalg.norm(points - centre, axis=1).mean()
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])


def _mapped(matrix: Homography, points: Points) -> Points:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def by_poselib(poselib: ModuleType, source: Points, target: Points) -> Homography | None:
    """PoseLib's LO-RANSAC, then its robust non-linear refinement."""
    found, info = poselib.estimate_homography(
        source, target, {"max_reproj_error": RANSAC_PX}, {"loss_type": "CAUCHY"}
    )
    return np.asarray(found) if info["num_inliers"] >= 4 else None


def by_ecc(phone: Photo, dslr: Photo, start: Homography) -> Homography | None:
    """OpenCV's ECC, which maximises the correlation of all pixels, from a homography to start."""
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, ECC_STEPS, ECC_CHANGE)
    start = (start / start[2, 2]).astype(np.float32)
    try:
        found = cv2.findTransformECC(
            grey(phone), grey(dslr), start, cv2.MOTION_HOMOGRAPHY, criteria, None, ECC_BLUR
        )[1]
    except cv2.error:  # it does not converge
        return None
    return found.astype(np.float64)


def by_skimage(phone: Photo, dslr: Photo) -> Homography | None:
    """scikit-image's SIFT with its defaults, matched both ways, and its RANSAC."""
    from skimage.feature import SIFT, match_descriptors
    from skimage.measure import ransac
    from skimage.transform import ProjectiveTransform

    found = []
    for photo in (phone, dslr):
        sift = SIFT()
        try:
            sift.detect_and_extract(grey(photo))
        except RuntimeError:  # no keypoints
            return None
        found.append(sift)
    first, second = (sift.descriptors for sift in found)
    matches = match_descriptors(first, second, max_ratio=RATIO, cross_check=True)
    if len(matches) < 4:
        return None
    source, target = (
        sift.keypoints[matches[:, side], ::-1].astype(np.float64) for side, sift in enumerate(found)
    )
    model, inliers = ransac(
        (source, target), ProjectiveTransform, 4, RANSAC_PX, max_trials=1000, rng=0
    )
    return model.params if inliers is not None and inliers.sum() >= 4 else None


def by_kornia(feature: ModuleType, geometry: ModuleType, *photos: Photo) -> Homography | None:
    """kornia's SIFT, AdaLAM and RANSAC: none of them has weights to download."""
    import torch

    torch.manual_seed(0)
    extract = feature.SIFTFeature(KORNIA_FEATURES, rootsift=True)
    with torch.inference_mode():
        images = [torch.from_numpy(grey(photo))[None, None].float() / 255 for photo in photos]
        found: list[Any] = [extract(image) for image in images]
        (frames, _, first), (other_frames, _, second) = found
        _, matches = feature.match_adalam(
            first[0],
            second[0],
            frames,
            other_frames,
            hw1=images[0].shape[2:],
            hw2=images[1].shape[2:],
        )
        if len(matches) < 4:
            return None
        source = feature.get_laf_center(frames)[0][matches[:, 0]]
        target = feature.get_laf_center(other_frames)[0][matches[:, 1]]
        homography, inliers = geometry.RANSAC("homography", inl_th=RANSAC_PX)(source, target)
    return homography.numpy().astype(np.float64) if inliers.sum() >= 4 else None
