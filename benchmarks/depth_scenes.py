"""Photo pairs of scenes with depth whose truth is known, for `benchmarks/depth.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import Points, apply_homography, centre_of, grid_points
from dpedkit.images import read_photo
from dpedkit.resample import PixelMap
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import simulate_pair

Photo = NDArray[np.uint8]
Homography = NDArray[np.float64]

FAR, NEAR, HIDDEN = 0, 1, 255
MARGIN = 0.12  # of the phone photo's sides: what the DSLR photo shows besides
SUPERSAMPLING = 2
NOTHING, ALL = 0.001, 0.999  # of a pixel
MOST_THINGS = 4
SCENE_PIXELS = 4  # to a phone pixel, of a photo that serves as a simulated scene

# Left and right photo, disparity, and its units per px.
_MOTORCYCLE = (
    "motorcycle_left.png",
    "motorcycle_right.png",
    "motorcycle_disparity_x256.png",
    256,
)
_ALOE = ("aloeL.jpg", "aloeR.jpg", "aloeGT.png", 1)
STEREO = {"Motorcycle": (_MOTORCYCLE, 1), "Aloe": (_ALOE, 1), "Aloe, half size": (_ALOE, 2)}


@dataclass(frozen=True)
class Scene:
    """Two photos of things at several depths, and what is true of them.

    Attributes
    ----------
    phone, dslr : (H, W, 3) uint8 array
    truth : callable
        DSLR points `(N, 2)` of phone points `(N, 2)`; NaN where hidden or not known.
    labels : (H, W) uint8 array
        The surface that each phone pixel shows, 0 for the farthest; 255 where the DSLR photo does
        not show the same, where an edge mixes two surfaces, or where the truth is not known.
    """

    phone: Photo
    dslr: Photo
    truth: Callable[[Points], Points]
    labels: NDArray[np.uint8]


def layered_scene(far: Photo, near: Photo, parallax: float, seed: list[int], mp: float) -> Scene:
    """A photo before another: an ellipse over 10 to 30% of the phone photo is displaced.

    Parameters
    ----------
    far, near : (H, W, 3) uint8 array
    parallax : float
        Displacement of the near photo against the far one, phone px.
    seed : list of int
        Everything random follows from it.
    mp : float
        Megapixels of the phone photo.
    """
    rng = np.random.default_rng(seed)
    width = round(np.sqrt(mp * 1e6 * 4 / 3))
    size = (width, width * 3 // 4)
    dslr_size = (round(size[0] * (1 + MARGIN)), round(size[1] * (1 + MARGIN)))
    behind, front = _filling(far, dslr_size), _filling(near, dslr_size)
    far_map = _camera(rng, size, dslr_size)
    direction = rng.uniform(-0.3, 0.3) + rng.choice([0, np.pi])
    near_map = far_map @ _moved(parallax * np.array([np.cos(direction), np.sin(direction)]))
    cover = _ellipse(rng, dslr_size, rng.uniform(0.1, 0.3) * size[0] * size[1])

    covered = _seen(cover, near_map, size)
    phone = _blended(_seen(behind, far_map, size), _seen(front, near_map, size), covered)
    labels = np.full(size[::-1], HIDDEN, np.uint8)
    # What is behind is seen by both only where the DSLR photo shows nothing before it either.
    labels[(covered < NOTHING) & (_seen(cover, far_map, size) < NOTHING)] = FAR
    labels[covered > ALL] = NEAR

    cut = [int(rng.uniform(0, 0.05) * side) for side in dslr_size]
    inner = np.s_[cut[1] : dslr_size[1] - cut[1], cut[0] : dslr_size[0] - cut[0]]
    dslr = np.ascontiguousarray(_blended(behind, front, cover)[inner])
    maps = [_moved(-np.array(cut)) @ surface for surface in (far_map, near_map)]
    truth = _by_surface(labels, maps, (dslr.shape[1], dslr.shape[0]))
    everywhere = truth(grid_points(np.arange(size[0]), np.arange(size[1])))
    labels[np.isnan(everywhere[:, 0]).reshape(labels.shape)] = HIDDEN
    return Scene(_photographed(rng, phone), dslr, truth, labels)


def simulated_scene(far: Photo, near: Photo, parallax: float, seed: list[int], mp: float) -> Scene:
    """A photo with one to four things before it, at depths up to the parallax, by `simulate`.

    The last number of the seed is that of the scene. The phone photo has about `mp` megapixels.
    """
    *first, number = seed
    mixed = int(np.random.SeedSequence(first).generate_state(1)[0])
    config = SimulateConfig(seed=mixed, disparity=parallax, objects=1 + number % MOST_THINGS)
    photos = [_reduced(photo, mp * 1e6 * SCENE_PIXELS) for photo in (far, near)]
    shot = simulate_pair(config, number, *photos)
    return Scene(shot.phone, shot.dslr, shot.pixel_truth, shot.labels)


def stereo_scenes(folder: Path) -> Iterator[tuple[str, Scene]]:
    """Motorcycle, and Aloe at full and half size, by name; the left photo is the phone's."""
    for name, ((left, right, disparity, units), shrink) in STEREO.items():
        measured = np.asarray(cv2.imread(str(folder / disparity), cv2.IMREAD_UNCHANGED))
        size = (measured.shape[1] // shrink, measured.shape[0] // shrink)
        photos = [
            cv2.resize(read_photo(folder / file), size, interpolation=cv2.INTER_AREA)
            for file in (left, right)
        ]
        # Not averaged: halfway between near and far there is nothing.
        nearest = cv2.resize(measured, size, interpolation=cv2.INTER_NEAREST)
        field = nearest.astype(np.float64) / (units * shrink)
        labels = np.where(field > 0, FAR, HIDDEN).astype(np.uint8)
        yield name, Scene(photos[0], photos[1], _by_disparity(field), labels)


def _by_surface(
    labels: NDArray[np.uint8], maps: list[Homography], dslr_size: tuple[int, int]
) -> Callable[[Points], Points]:
    def truth(points: Points) -> Points:
        label = _at(labels, points, HIDDEN)
        result = np.full(points.shape, np.nan)
        for number, surface in enumerate(maps):
            result[label == number] = apply_homography(surface, points[label == number])
        beyond = (result < 0) | (result > np.array(dslr_size) - 1)
        result[beyond.any(axis=1)] = np.nan
        return result

    return truth


def _by_disparity(disparity: NDArray[np.float64]) -> Callable[[Points], Points]:
    """Left (x, y) shows what right (x - d, y) shows; a disparity of 0 is not known."""

    def truth(points: Points) -> Points:
        moved = _at(disparity, points, 0.0)
        moved[moved == 0] = np.nan
        # Both coordinates are NaN where the place is not known.
        return points + moved[:, None] * [-1, 0]

    return truth


def _at(values: NDArray[Any], points: Points, outside: float) -> NDArray[Any]:
    """Values `(N,)` of the pixels nearest to points `(N, 2)`."""
    height, width = values.shape
    column, row = np.rint(points).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    result = np.full(len(points), outside, values.dtype)
    result[inside] = values[row[inside], column[inside]]
    return result


def _camera(
    rng: np.random.Generator, size: tuple[int, int], dslr_size: tuple[int, int]
) -> Homography:
    """From phone px to DSLR px: a roll of up to 2 degrees, a slight tilt and zoom."""
    angle, scale = np.radians(rng.uniform(-2, 2)), rng.uniform(0.95, 1.02)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    tilt = rng.uniform(-0.005, 0.005, 2) / size[0]
    turned = np.array([[cos, -sin, 0], [sin, cos, 0], [*tilt, 1]])
    found = _moved(centre_of(dslr_size)) @ turned @ _moved(-centre_of(size))
    return np.asarray(found / found[2, 2])


def _moved(shift: NDArray[Any]) -> Homography:
    return np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]], np.float64)


def _filling(photo: Photo, size: tuple[int, int]) -> Photo:
    """The middle of a photo, laid on its side, resized until it just fills `(width, height)`."""
    lying = photo if photo.shape[1] >= photo.shape[0] else np.rot90(photo)
    height, width = lying.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    wide, high = max(size[0], round(width * scale)), max(size[1], round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(lying), (wide, high), interpolation=way)
    left, top = (wide - size[0]) // 2, (high - size[1]) // 2
    return np.ascontiguousarray(resized[top : top + size[1], left : left + size[0]])


def _reduced(photo: Photo, pixels: float) -> Photo:
    height, width = photo.shape[:2]
    scale = np.sqrt(pixels / (width * height))
    if scale >= 1:
        return photo
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)


def _ellipse(rng: np.random.Generator, size: tuple[int, int], area: float) -> NDArray[np.float32]:
    """How much of each pixel an ellipse near the middle covers."""
    aspect = rng.uniform(0.6, 1.6)
    radii = np.sqrt(area / np.pi * np.array([aspect, 1 / aspect]))
    place = rng.uniform(0.35, 0.65, 2) * size
    y, x = np.mgrid[: size[1], : size[0]]
    radius = np.hypot((x - place[0]) / radii[0], (y - place[1]) / radii[1])
    return np.clip((1 - radius) * radii.min() + 0.5, 0, 1).astype(np.float32)


def _seen(picture: NDArray[Any], to_picture: Homography, size: tuple[int, int]) -> NDArray[Any]:
    """A picture as the phone sees it, each pixel the mean of several samples."""
    source = PixelMap(lambda p: apply_homography(to_picture, p), (0, 0), size, SUPERSAMPLING)
    places = source.rows(0, size[1])
    fine = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA))


def _blended(behind: Photo, front: Photo, cover: NDArray[np.float32]) -> Photo:
    return np.asarray(cv2.blendLinear(front, behind, cover, 1 - cover), np.uint8)


def _photographed(rng: np.random.Generator, image: Photo) -> Photo:
    """Tone, colour, blur, noise and JPEG of a phone."""
    light = (image.astype(np.float32) / 255) ** rng.uniform(0.8, 1.3)
    light *= rng.uniform(0.85, 1.1, 3).astype(np.float32)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.4, 0.9))
    noise = rng.standard_normal(light.shape, dtype=np.float32) * rng.uniform(2, 5)
    noisy = np.clip(light * 255 + noise + 0.5, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", noisy[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[:, :, ::-1])
