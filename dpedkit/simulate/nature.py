"""Skies, mountains, meadows, water and plants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.simulate.textures import (
    Colour,
    Field,
    Pixels,
    fractal,
    lay,
    palette_map,
    polygons,
    ridge_line,
    shade,
    smoothstep,
    vertical_gradient,
)


@dataclass(frozen=True)
class Weather:
    """The light of a scene: colours of the sky, of clouds in sun and shade, and of distant air."""

    zenith: Colour
    middle: Colour
    horizon: Colour
    cloud_light: Colour
    cloud_dark: Colour
    haze: Colour
    cover: float
    sun: Colour


WEATHERS = (
    Weather(
        (38, 92, 176), (98, 156, 216), (196, 220, 236),
        (255, 253, 248), (168, 180, 200), (176, 202, 226), 0.1, (255, 250, 238),
    ),
    Weather(
        (52, 84, 150), (142, 152, 186), (250, 206, 152),
        (255, 226, 190), (150, 130, 156), (226, 196, 176), 0.0, (255, 226, 184),
    ),
    Weather(
        (64, 120, 186), (136, 182, 220), (222, 232, 236),
        (254, 254, 254), (150, 160, 176), (204, 216, 226), 0.5, (252, 250, 246),
    ),
)  # fmt: skip


def paint_sky(rng: np.random.Generator, region: Pixels, weather: Weather) -> None:
    """Fill a region with a sky whose horizon lies at its lower edge."""
    height, width = region.shape[:2]
    stops = [(0.0, weather.zenith), (0.6, weather.middle), (1.0, weather.horizon)]
    gradient = vertical_gradient(height, stops)[:, None, :]
    dither = rng.standard_normal((height, width, 1), dtype=np.float32) * 0.6
    region[:] = np.clip(gradient + dither, 0, 255).astype(np.uint8)

    half = (height // 2 + 1, width // 2 + 1)
    tile = fractal(rng, 1024, 1024, coarsest=0.3, falloff=0.55)
    # Looking up at a flat layer: distance grows as 1 / elevation, so clouds crowd at the horizon.
    elevation = np.linspace(1.0, 0.16, half[0], dtype=np.float32)[:, None]
    across = np.linspace(-0.5, 0.5, half[1], dtype=np.float32)[None, :] * (width / height)
    u = (across / elevation) * 420 + 512
    v = np.repeat(620 / elevation, half[1], axis=1)
    density = _tiled(tile, u, v)
    lit = _tiled(tile, u + 14, v - 18)
    cover = cv2.resize(smoothstep(density, 0.35 - weather.cover, 1.5), (width, height))
    light = smoothstep(density - lit, -0.9, 0.8) * 0.75 + 0.25 * smoothstep(density, 2.2, 0.2)
    clouds = palette_map(light, [weather.cloud_dark, weather.cloud_light], 0.15, 0.75)
    lay(region, cv2.resize(clouds, (width, height)), cover * 0.94)


def paint_mountains(
    rng: np.random.Generator, scene: Pixels, horizon: int, height: int, weather: Weather
) -> None:
    """Three ranges one behind the other, paler with distance, standing on `horizon`."""
    rows, width = scene.shape[:2]
    for depth, (rise, rough, haze) in enumerate(
        ((1.0, 0.47, 0.58), (0.6, 0.45, 0.34), (0.3, 0.42, 0.12))
    ):
        profile = ridge_line(rng, width, rough, (0.45, 0.35, 0.5)[depth])
        crest = horizon - height * rise * (0.62 + 0.22 * profile)
        crest = np.clip(crest, 8, horizon - 4)
        top = int(crest.min()) - 2
        base = min(rows, horizon + 4)
        band = scene[top:base]
        relief = fractal(rng, base - top, width, coarsest=0.15, falloff=0.56)
        below = (np.arange(top, base, dtype=np.float32)[:, None] - crest[None, :]) / (height * rise)
        slope = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3) - cv2.Sobel(
            relief, cv2.CV_32F, 0, 1, ksize=3
        )
        slope = cv2.GaussianBlur(slope, (0, 0), 1.2)
        light = 0.92 + 0.32 * np.tanh(slope * 2.2)
        if depth < 2:
            kind = below * 2.6 + 0.35 * relief + (0.0 if depth == 0 else 0.35)
            colours = [
                (236, 240, 248),
                (226, 230, 240),
                (128, 118, 112),
                (104, 100, 86),
                (78, 98, 62),
                (64, 90, 54),
            ]
        else:
            kind = 0.5 + 0.4 * relief
            colours = [(44, 74, 40), (58, 92, 46), (80, 112, 52), (110, 130, 64)]
        surface = palette_map(kind.astype(np.float32), colours, 0.0, 1.2)
        shade(surface, light.astype(np.float32))
        lay(surface, weather.haze, np.clip(haze + 0.25 * below, 0, 0.8).astype(np.float32))
        lay(band, surface, np.clip(below * height * rise + 0.5, 0, 1).astype(np.float32))


def paint_meadow(
    rng: np.random.Generator, scene: Pixels, horizon: int, colours: Sequence[Colour], sun: Colour
) -> None:
    """Grass from the horizon to the lower edge, in perspective, with blades near the camera."""
    rows, width = scene.shape[:2]
    region = scene[horizon:]
    height = rows - horizon
    depth = np.linspace(0.03, 1, height, dtype=np.float32)[:, None]
    tile = fractal(rng, 1024, 1024, coarsest=0.25, falloff=0.62)
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    u = across / depth * 500 + 512
    v = np.repeat(260 / depth, width, axis=1)
    fine = fractal(rng, height, width, coarsest=0.02, falloff=0.75)
    tone = 0.75 * _tiled(tile, u, v) + 0.55 * fine
    region[:] = palette_map(tone, colours, -2.0, 2.0)
    paint_blades(rng, scene, horizon + height // 12, colours, sun)


def paint_blades(
    rng: np.random.Generator, scene: Pixels, top: int, colours: Sequence[Colour], sun: Colour
) -> None:
    """Single blades of grass from row `top` down, larger towards the camera."""
    rows, width = scene.shape[:2]
    count = int(0.011 * width * (rows - top))
    t = np.sort(rng.random(count) ** 0.8)
    y = top + t * (rows - top) * 1.03
    x = rng.random(count) * width
    length = (6 + 52 * t**1.4) * rows / 2400 * rng.uniform(0.6, 1.4, count)
    lean = rng.normal(0, 0.35, count) * length
    thick = np.maximum(0.9, length * 0.055)
    root, tip = np.stack([x, y], 1), np.stack([x + lean, y - length], 1)
    middle = (root + tip) / 2 + np.stack([-lean * 0.25, np.zeros(count)], 1)
    side = np.stack([thick, np.zeros(count)], 1)
    outlines = np.stack(
        [root - side, middle - side * 0.7, tip, middle + side * 0.7, root + side], 1
    )
    base = np.array(colours, np.float64)[rng.integers(0, len(colours), count)]
    bright = rng.uniform(0.7, 1.25, (count, 1))
    polygons(scene, outlines, base * bright * (np.array(sun) / 255))


def paint_flowers(
    rng: np.random.Generator, scene: Pixels, top: int, colours: Sequence[Colour], count: int
) -> None:
    """Small flowers strewn over a meadow below row `top`, in drifts of one colour."""
    rows, width = scene.shape[:2]
    drift = fractal(rng, 64, 64, coarsest=0.3)
    t = np.sort(rng.random(count * 3) ** 0.7)
    x, y = rng.random(count * 3) * width, top + t * (rows - top)
    where = drift[(t * 63).astype(int), np.clip(x / width * 63, 0, 63).astype(int)]
    kept = np.flatnonzero(where + 0.3 * rng.standard_normal(len(t)) > 0.3)[::2]
    palette = np.array(colours, np.float64)
    for i in kept:
        radius = (2.2 + 15 * t[i] ** 1.5) * rows / 2400 * rng.uniform(0.7, 1.2)
        kind = palette[int((where[i] * 7 + x[i] / width * 3) % len(palette))]
        paint_flower(rng, scene, (x[i], y[i]), radius, kind)


def paint_flower(
    rng: np.random.Generator,
    scene: Pixels,
    centre: tuple[float, float],
    radius: float,
    colour: NDArray[np.float64],
    petals: int = 0,
) -> None:
    """One open flower: a ring of petals, lit from above, round a yellow heart."""
    petals = petals or int(rng.integers(5, 9))
    tilt = rng.uniform(0.55, 1.0)
    angles = rng.uniform(0, 2 * np.pi) + np.arange(petals) * 2 * np.pi / petals
    for ring, size in ((0, 1.0), (1, 0.62)) if radius > 12 else ((0, 1.0),):
        turn = angles + ring * np.pi / petals
        outline = _petal(12 if radius > 12 else 6) * radius * size
        cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
        px = outline[:, 0] * cos - outline[:, 1] * sin
        py = (outline[:, 0] * sin + outline[:, 1] * cos) * tilt
        shape = np.stack([px, py], axis=-1) + np.array(centre)
        light = (0.86 - 0.2 * np.sin(turn) + 0.1 * ring + rng.uniform(-0.06, 0.06, petals))[:, None]
        polygons(scene, shape, np.asarray(colour) * light)
        if radius > 12:
            polygons(scene, (shape - centre) * 0.55 + centre, np.asarray(colour) * light * 0.82)
    middle = np.round(np.array(centre) * 16).astype(int).tolist()
    heart = max(1.0, radius * 0.24)
    cv2.circle(scene, middle, round(heart * 16), (206, 150, 30), -1, cv2.LINE_AA, 4)
    cv2.circle(scene, [middle[0] - round(4 * heart), middle[1] - round(5 * heart)],
               round(heart * 9), (250, 206, 70), -1, cv2.LINE_AA, 4)  # fmt: skip


def paint_tree(
    rng: np.random.Generator,
    scene: Pixels,
    foot: tuple[float, float],
    height: float,
    greens: Sequence[Colour],
    sun: Colour,
    density: float = 1.0,
) -> None:
    """A broad-leaved tree: trunk, boughs, and a crown of clumps built up of single leaves."""
    x, y = foot
    bark = np.array((92, 72, 54), np.float64)
    crown = np.array([x, y - 0.62 * height])
    clumps = int(rng.integers(20, 28))
    spread = rng.normal(0, 1, (clumps, 2)) * [0.13, 0.105] * height
    centres = crown + np.clip(spread, -0.24 * height, 0.24 * height)
    radii = height * rng.uniform(0.08, 0.13, clumps)
    for centre in centres[: clumps // 2]:
        _bough(scene, np.array([x, y - 0.25 * height]), centre, height * 0.011, bark * 0.8)
    for strip in range(5):
        offset = (strip - 2) * 0.011 * height
        _bough(
            scene, np.array([x + offset, y]), np.array([x + offset * 0.5, y - 0.5 * height]),
            height * 0.008, bark * (1.15 - 0.14 * strip),
        )  # fmt: skip
    order = np.argsort(centres[:, 1] + rng.normal(0, 0.05 * height, clumps))[::-1]
    leaf = float(np.clip(height * 0.0085, 1.6 * scene.shape[0] / 2400, 11 * scene.shape[0] / 2400))
    palette = np.array(greens, np.float64) * (np.array(sun) / 255)
    for clump in order:
        _clump(rng, scene, centres[clump], radii[clump], leaf, palette, density)


def paint_conifer(
    rng: np.random.Generator, scene: Pixels, foot: tuple[float, float], height: float, sun: Colour
) -> None:
    """A spruce: needled boughs from dark inside to lit tips, narrowing upwards."""
    x, y = foot
    count = int(np.clip(height * 3.2, 60, 2200))
    level = np.sort(rng.random(count)) ** 0.9
    tier = np.abs((level * 11) % 1)
    reach = height * 0.2 * (1 - level) * (1.1 - 0.55 * tier) + 0.004 * height
    side = rng.uniform(-1, 1, count)
    root = np.stack([x + side * reach * 0.5, y - height * (0.06 + 0.93 * level)], 1)
    length = np.maximum(reach * 0.75, 2)
    tip = root + np.stack([side * length, length * rng.uniform(0.25, 0.6, count)], 1)
    thick = np.maximum(length * 0.14, 0.8)[:, None] * [0, 1]
    outlines = np.stack([root - thick, tip, root + thick], 1)
    light = 0.55 + 0.35 * np.abs(side) - 0.22 * side + rng.uniform(-0.15, 0.2, count)
    colours = np.array((58, 92, 58)) * light[:, None] * (np.array(sun) / 250)
    polygons(scene, outlines, colours)


def paint_water(
    rng: np.random.Generator, scene: Pixels, shore: int, tint: Colour, calm: float = 1.0
) -> None:
    """Water from row `shore` down that mirrors what stands above it, broken up by ripples."""
    rows, width = scene.shape[:2]
    height = rows - shore
    near = np.linspace(0.02, 1, height, dtype=np.float32)[:, None]
    tile = fractal(rng, 1024, 1024, coarsest=0.06, falloff=0.6)
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    u, v = across / near * 420 + 512, np.repeat(900 / near, width, axis=1) * 0.5
    wave = _tiled(tile, u, v) * np.minimum(1, near * 3)
    strength = rows * 0.012 / calm
    xs = np.arange(width, dtype=np.float32)[None, :] + wave * strength * 0.3
    ys = (
        shore
        - 1
        - np.arange(height, dtype=np.float32)[:, None] * 0.9
        + wave * strength * (0.3 + near)
    )
    mirror = cv2.remap(
        scene, xs, np.minimum(ys, shore - 1), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    lay(mirror, tint, np.repeat(0.22 + 0.36 * near, width, axis=1))
    shade(mirror, 0.9 + 0.12 * wave)
    scene[shore:] = mirror
    glint = smoothstep(wave, 1.5, 2.6) * 0.5
    lay(scene[shore:], (236, 242, 248), glint)


def paint_leaves(
    rng: np.random.Generator,
    scene: Pixels,
    centres: NDArray[np.float64],
    sizes: NDArray[np.float64],
    colours: NDArray[np.float64],
) -> None:
    """Pointed leaves, each in a lit and a shaded half with a pale midrib, drawn in order.

    Parameters
    ----------
    centres : (N, 2) array
    sizes : (N,) array
        Half lengths in pixels.
    colours : (N, 3) array
    """
    count = len(centres)
    angle = rng.uniform(0, 2 * np.pi, count)
    along = np.stack([np.cos(angle), np.sin(angle)], 1) * sizes[:, None]
    across = (
        np.stack([-np.sin(angle), np.cos(angle)], 1)
        * (sizes * rng.uniform(0.3, 0.5, count))[:, None]
    )
    bend = across * rng.uniform(-0.4, 0.4, (count, 1))
    root, tip = centres - along, centres + along + bend
    spine = centres + bend * 0.3
    halves = []
    for side in (1, -1):
        rim = [root + along * 0.35 + side * across * 0.75, spine + side * across,
               tip - along * 0.45 + side * across * 0.62]  # fmt: skip
        halves.append(np.stack([root, *rim, tip, spine], 1))
    rib = across * 0.05
    ribs = np.stack([root + rib, tip, root - rib], 1)
    lit = np.where(across[:, 1:] < 0, 1.12, 0.84)
    large = sizes.max() > 9
    shadow = along.mean() * 0 + np.array([0.12, 0.2]) * sizes[:, None]
    for i in range(count):
        if large:
            outline = np.concatenate([halves[0][i, :5], halves[1][i, 3:0:-1]]) + shadow[i]
            polygons(scene, outline[None], colours[i : i + 1] * 0.32)
        polygons(scene, halves[0][i : i + 1], colours[i : i + 1] * lit[i])
        polygons(scene, halves[1][i : i + 1], colours[i : i + 1] * (1.96 - lit[i]))
        if large:
            polygons(scene, ribs[i : i + 1], colours[i : i + 1] * 1.25 + 14)


def _tiled(tile: Field, u: Field, v: Field) -> Field:
    """Sample a square tile at any position; beyond its edges it is mirrored, over and over."""
    last = tile.shape[0] - 1
    us, vs = np.broadcast_arrays(*(last - np.abs(c % (2 * last) - last) for c in (u, v)))
    return cv2.remap(
        tile, us.astype(np.float32), vs.astype(np.float32), cv2.INTER_LINEAR
    )  # fmt: skip


def _petal(points: int) -> NDArray[np.float64]:
    """The outline of a petal that points along +x from the origin to (1, 0)."""
    t = np.linspace(0, 1, points // 2 + 1)
    width = 0.30 * np.sin(np.pi * t**1.25)
    upper = np.stack([t, width], 1)
    return np.concatenate([upper, upper[-2:0:-1] * [1, -1]])


def _bough(
    scene: Pixels,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    width: float,
    colour: NDArray[np.float64],
) -> None:
    along = end - start
    normal = np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-6)
    outline = np.stack([start - normal * width, end - normal * width * 0.3,
                        end + normal * width * 0.3, start + normal * width])  # fmt: skip
    polygons(scene, outline[None], colour[None])


def _clump(
    rng: np.random.Generator,
    scene: Pixels,
    centre: NDArray[np.float64],
    radius: float,
    leaf: float,
    palette: NDArray[np.float64],
    density: float,
) -> None:
    """A ball of leaves: dark ones behind and below, bright ones towards the sun at the top left."""
    count = int(np.clip(5.0 * density * (radius / leaf) ** 2, 40, 1600))
    distance = np.sqrt(rng.random(count)) * rng.uniform(0.85, 1.1, count)
    angle = rng.uniform(0, 2 * np.pi, count)
    offset = np.stack([np.cos(angle), np.sin(angle) * 0.85], 1) * distance[:, None]
    depth = np.sqrt(np.maximum(0, 1 - np.minimum(distance, 1) ** 2))
    front = np.sort(rng.random(count))
    light = -0.45 * offset[:, 0] - 0.62 * offset[:, 1] + 0.5 * depth
    bright = 0.34 + 0.42 * front + 0.42 * np.maximum(light, -0.2) * (0.35 + 0.65 * front)
    bright *= rng.uniform(0.82, 1.2, count)
    position = centre + offset * radius
    turn = rng.uniform(0, 2 * np.pi, count)
    size = leaf * rng.uniform(0.7, 1.35, count)
    along = np.stack([np.cos(turn), np.sin(turn)], 1) * size[:, None]
    across = np.stack([-np.sin(turn), np.cos(turn)], 1) * (size * 0.48)[:, None]
    outlines = np.stack([position - along, position - along * 0.1 + across, position + along,
                         position - along * 0.1 - across], 1)  # fmt: skip
    base = palette[rng.integers(0, len(palette), count)]
    warm = 1 + np.maximum(light, 0)[:, None] * np.array([0.16, 0.08, -0.1]) * front[:, None]
    polygons(scene, outlines, base * bright[:, None] * warm)
