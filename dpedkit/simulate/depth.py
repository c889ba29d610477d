"""Scenes with depth: a far surface, ground that comes nearer, and objects in front of both.

The displacement of a surface is where the phone shows its points, less where it would show them if
they were on the farthest surface. Between two cameras side by side it points along their baseline,
and over a plane it is an affine function of the phone's (straightened) pixels; so every plane has
an exact map of its own, which differs from the farthest one's only in the homography.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import PairMap, Points, apply_homography
from dpedkit.simulate.config import SimulateConfig

_DEPTH_STREAM = 5
_OBJECT_AREAS = (0.04, 0.3)  # parts of the phone photo
_LEAST_LEVEL = 0.2  # displacement of the farthest thing as a part of the nearest one's
_MOST_SLANT = 0.3  # change of the displacement over a thing as a part of its own
_STEEPEST = 0.25  # displacement per pixel: beyond 1, a plane would be seen from behind
_GROUND_LEVELS = (0.2, 0.45)  # displacement at the phone photo's lower edge, as a part of all
_CANDIDATES = 16  # places tried for each thing


@dataclass(frozen=True)
class Surface:
    """A plane of the scene, or the farthest surface.

    Attributes
    ----------
    map : PairMap
        Phone pixels to DSLR pixels of what is on this surface.
    outline : (N, 2) array or None
        Closed polygon in DSLR px within which the surface is; None for one that is everywhere.
    joined : bool
        Whether it meets the surface behind it without a step, so that neither hides the other.
    """

    map: PairMap
    outline: NDArray[np.float64] | None = None
    joined: bool = False


@dataclass(frozen=True)
class _Plane:
    """Displacement `level + slope @ (q - centre)` in px at straightened phone points `q`."""

    level: float
    slope: NDArray[np.float64]
    centre: NDArray[np.float64]

    def at(self, points: Points) -> NDArray[np.float64]:
        return self.level + (points - self.centre) @ self.slope


def draw_surfaces(config: SimulateConfig, index: int, far: PairMap) -> tuple[Surface, ...]:
    """The surfaces of pair `index`, the farthest first.

    Parameters
    ----------
    config : SimulateConfig
        Without `disparity` there is the farthest surface alone.
    index : int
    far : PairMap
        Map of the farthest surface.

    Returns
    -------
    tuple of Surface
        The farthest surface, in many scenes the ground (joined to it), and the things. Nothing
        that lies on a surface is nearer than what lies on a later one at the same place.
    """
    if config.disparity == 0:
        return (Surface(far),)
    rng = np.random.default_rng([config.seed, _DEPTH_STREAM, index])
    angle = np.clip(rng.normal(0, 12), -30, 30) + rng.choice([0, 180])
    baseline = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    surfaces = [Surface(far)]
    ground = None
    if rng.random() < 0.7:
        ground, surface = _draw_ground(rng, config, far, baseline)
        surfaces.append(surface)
    shapes = _draw_shapes(rng, config, far, baseline)
    # What stands lower in the photo stands nearer, as on real ground.
    shapes.sort(key=lambda shape: float(shape[:, 1].max()))
    below = 0.0
    for number, shape in enumerate(shapes):
        last = number == len(shapes) - 1
        step = (number + rng.uniform(0.1, 0.9)) / max(1, len(shapes) - 1)
        level = config.disparity * (1.0 if last else _LEAST_LEVEL + (1 - _LEAST_LEVEL) * step)
        if ground is not None:
            foot = np.minimum(shape, np.array(far.phone_size))
            below = max(below, float(ground.at(foot).max()))
        level = min(max(level, below), config.disparity)
        plane = _draw_plane(rng, shape, level, below)
        surface_map = _displaced(far, baseline, plane)
        outline = apply_homography(surface_map.phone_to_dslr, shape)
        surfaces.append(Surface(surface_map, outline))
        below = level
    return tuple(surfaces)


def _displaced(far: PairMap, baseline: NDArray[np.float64], plane: _Plane) -> PairMap:
    """The map of a plane: back along the baseline to the farthest surface, and on from there."""
    back = np.eye(3)
    back[:2, :2] -= np.outer(baseline, plane.slope)
    back[:2, 2] -= baseline * (plane.level - plane.slope @ plane.centre)
    homography = far.phone_to_dslr @ back
    return replace(far, phone_to_dslr=homography / homography[2, 2])


def _draw_ground(
    rng: np.random.Generator, config: SimulateConfig, far: PairMap, baseline: NDArray[np.float64]
) -> tuple[_Plane, Surface]:
    """Ground from a nearly level line on: there it is at the farthest surface."""
    size = np.array(far.phone_size)
    horizon = size * [0.5, rng.uniform(0.4, 0.65)]
    tilt = np.radians(rng.uniform(-3, 3))
    down = np.array([-np.sin(tilt), np.cos(tilt)])
    nearest = config.disparity * rng.uniform(*_GROUND_LEVELS)
    slope = min(nearest / (size[1] - horizon[1]), _STEEPEST)
    plane = _Plane(0.0, slope * down, horizon)
    # The displacement is 0 all along the line, so all maps take it to the same line of the DSLR.
    along = np.array([down[1], -down[0]])
    ends = np.stack([horizon - along, horizon + along, horizon + down])
    left, right, under = apply_homography(far.phone_to_dslr, ends)
    across = (right - left) / np.linalg.norm(right - left)
    deep = np.array([-across[1], across[0]])
    deep *= np.sign(deep @ (under - left))
    far_away = 4.0 * max(*far.dslr_size, *far.phone_size)
    outline = np.stack([
        left - far_away * across, left + far_away * across,
        left + far_away * (across + deep), left + far_away * (deep - across),
    ])  # fmt: skip
    return plane, Surface(_displaced(far, baseline, plane), outline, joined=True)


def _draw_plane(rng: np.random.Generator, shape: Points, level: float, below: float) -> _Plane:
    """A plane that is at `level` at the nearest point of the shape, and nowhere at `below`."""
    angle = np.radians(rng.normal(0, 25) + rng.choice([0, 180]))
    towards = np.array([np.cos(angle), np.sin(angle)])
    slant = rng.uniform(0.1, _MOST_SLANT) if rng.random() < 0.6 else 0.0
    along = shape @ towards
    extent = float(along.max() - along.min())
    change = min(slant * level, 0.9 * (level - below), _STEEPEST * extent)
    return _Plane(level, towards * max(change, 0.0) / extent, shape[along.argmax()])


def _draw_shapes(
    rng: np.random.Generator, config: SimulateConfig, far: PairMap, baseline: NDArray[np.float64]
) -> list[Points]:
    """Closed outlines `(N, 2)` in straightened phone px, spread over what both cameras see."""
    size = np.array(far.phone_size, np.float64)
    shapes: list[Points] = []
    centres: list[NDArray[np.float64]] = []
    for _ in range(config.objects):
        low, high = np.log(_OBJECT_AREAS)
        area = np.exp(rng.uniform(low, high)) * size.prod()
        shape = _draw_board(rng) if rng.random() < 0.3 else _draw_blob(rng)
        places = rng.uniform(0.12, 0.88, (_CANDIDATES, 2)) * size
        others = [np.linalg.norm(places - other, axis=1) for other in centres]
        lonely = np.min(others, axis=0) if others else np.zeros(_CANDIDATES)
        near = apply_homography(far.phone_to_dslr, places - baseline * config.disparity)
        inset = np.array(far.dslr_size) * 0.1
        outside = np.maximum(inset - near, near - (far.dslr_size - inset)).max(axis=1)
        centre = places[np.argmax(lonely - 10 * np.maximum(outside, 0))]
        centres.append(centre)
        shapes.append(shape * np.sqrt(area / _area(shape)) + centre)
    return shapes


def _draw_blob(rng: np.random.Generator) -> Points:
    """A smooth closed outline of any kind, like a bush, a rock or a coat."""
    angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    waves = np.arange(2, 8)
    amplitude = rng.normal(0, 0.3, len(waves)) / waves**0.9
    phase = rng.uniform(0, 2 * np.pi, len(waves))
    radius = np.exp((amplitude * np.cos(angle[:, None] * waves + phase)).sum(axis=1))
    stretch = np.exp(rng.uniform(-0.35, 0.35))
    circle = np.stack([np.cos(angle) * stretch, np.sin(angle) / stretch], axis=1)
    return circle * radius[:, None]


def _draw_board(rng: np.random.Generator) -> Points:
    """Four corners, upright or lying, like a sign, a door or the side of a van."""
    stretch = np.exp(rng.uniform(-0.4, 0.4))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [stretch, 1 / stretch]
    corners = corners * (1 + rng.uniform(-0.12, 0.12, (4, 2)))
    turn = np.radians(rng.uniform(-8, 8))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(corners @ rotation.T)


def _area(polygon: Points) -> float:
    x, y = polygon.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
