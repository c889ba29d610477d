"""Scenes to photograph: each function fills an array with one kind of place.

All sizes follow from the array's height, so that a larger scene shows the same place in more
detail.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from dpedkit.simulate.buildings import (
    WALL_COLOURS,
    paint_awning,
    paint_front,
    paint_roof,
    paint_sign,
    paint_wall,
)
from dpedkit.simulate.nature import (
    WEATHERS,
    paint_conifer,
    paint_flower,
    paint_flowers,
    paint_leaves,
    paint_meadow,
    paint_mountains,
    paint_sky,
    paint_tree,
    paint_water,
)
from dpedkit.simulate.textures import Colour, Field, Pixels, fractal, lay, paste_warped, shade

_GREENS: tuple[tuple[Colour, ...], ...] = (
    ((70, 112, 40), (92, 130, 46), (112, 146, 58)),
    ((52, 96, 46), (72, 116, 52), (96, 134, 60)),
    ((176, 112, 38), (204, 140, 44), (150, 84, 36)),
    ((96, 122, 48), (128, 146, 56), (156, 160, 70)),
)
_BLOOMS: tuple[Colour, ...] = (
    (226, 56, 62), (250, 208, 70), (246, 244, 250), (150, 96, 204), (244, 130, 160), (240, 130, 50),
    (90, 110, 214),
)  # fmt: skip


def paint_scene(rng: np.random.Generator, index: int, width: int, height: int) -> Pixels:
    """The scene of pair `index`: the kinds of places take turns.

    Returns
    -------
    (height, width, 3) array of uint8
    """
    scene = np.zeros((height, width, 3), np.uint8)
    SCENES[index % len(SCENES)](rng, scene)
    _weather(rng, scene)
    return scene


def paint_valley(rng: np.random.Generator, scene: Pixels) -> None:
    """Mountains behind a meadow in flower, spruces at its far end and two trees in front."""
    rows, width = scene.shape[:2]
    weather = WEATHERS[rng.integers(len(WEATHERS))]
    horizon = int(rows * rng.uniform(0.46, 0.54))
    paint_sky(rng, scene[:horizon], weather)
    paint_mountains(rng, scene, horizon, int(rows * 0.32), weather)
    greens = [(52, 86, 34), (84, 124, 44), (120, 150, 56), (160, 172, 78)]
    paint_meadow(rng, scene, horizon, greens, weather.sun)
    for x in np.sort(rng.random(60)) * width:
        tall = rows * rng.uniform(0.05, 0.12)
        paint_conifer(rng, scene, (x, horizon + tall * 0.25), tall, weather.sun)
    leaves = _GREENS[rng.integers(len(_GREENS))]
    for side in (0.1, 0.9) if rng.random() < 0.6 else (rng.uniform(0.1, 0.9),):
        foot = (width * (side + rng.uniform(-0.05, 0.05)), rows * rng.uniform(0.72, 0.82))
        tall = rows * rng.uniform(0.42, 0.62)
        _ground_shadow(scene, foot, tall)
        paint_tree(rng, scene, foot, tall, leaves, weather.sun)
    paint_flowers(rng, scene, int(horizon + 0.3 * (rows - horizon)), _BLOOMS, 1500)


def paint_street(rng: np.random.Generator, scene: Pixels) -> None:
    """A row of house fronts over a cobbled pavement, with trees before them."""
    rows, width = scene.shape[:2]
    weather = WEATHERS[rng.integers(len(WEATHERS))]
    ground = int(rows * 0.85)
    paint_sky(rng, scene[: int(rows * 0.5)], weather)
    _row_of_houses(rng, scene, ground, (0.5, 0.72))
    _cobbles(rng, scene, ground)
    leaves = _GREENS[rng.integers(len(_GREENS))]
    for side in rng.uniform(0, 0.3) + np.arange(2) * rng.uniform(0.5, 0.65):
        foot = (width * side, ground + rows * 0.05)
        _ground_shadow(scene, foot, rows * 0.4)
        paint_tree(rng, scene, foot, rows * rng.uniform(0.36, 0.5), leaves, weather.sun)


def paint_harbour(rng: np.random.Generator, scene: Pixels) -> None:
    """House fronts along a quay, mirrored in rippled water."""
    rows = scene.shape[0]
    weather = WEATHERS[rng.integers(len(WEATHERS))]
    quay = int(rows * 0.6)
    paint_sky(rng, scene[: int(rows * 0.36)], weather)
    _row_of_houses(rng, scene, quay - int(rows * 0.035), (0.3, 0.48))
    stone = paint_wall(
        rng, int(rows * 0.035), scene.shape[1], (142, 134, 122), rows / 26, brick=True
    )
    scene[quay - stone.shape[0] : quay] = stone
    paint_water(rng, scene, quay, (38, 66, 82))


def paint_market(rng: np.random.Generator, scene: Pixels) -> None:
    """Crates of fruit under a striped awning, with a price on each."""
    rows, width = scene.shape[:2]
    top = int(rows * 0.3)
    wall = paint_wall(
        rng, rows, width, WALL_COLOURS[rng.integers(len(WALL_COLOURS))], rows / 9, brick=True
    )
    scene[:] = wall
    shade(
        scene[top - rows // 12 : top + rows // 8],
        np.full((rows // 12 + rows // 8, width), 0.55, np.float32),
    )
    sign = paint_sign(
        (int(width * 0.5), int(rows * 0.09)),
        "FRUIT & VEGETABLES",
        (38, 66, 52),
        (248, 228, 176),
    )
    x = int(width * rng.uniform(0.1, 0.4))
    scene[int(rows * 0.03) : int(rows * 0.03) + sign.shape[0], x : x + sign.shape[1]] = sign
    awning = paint_awning(rng, int(rows * 0.15), width, max(6, width // 22))
    scene[int(rows * 0.14) : int(rows * 0.14) + awning.shape[0]] = awning
    shelves, columns = 3, 4
    kinds = rng.permutation(len(_FRUITS))
    for shelf in range(shelves):
        y0 = top + shelf * (rows - top) / shelves
        y1 = top + (shelf + 1) * (rows - top) / shelves
        for column in range(columns):
            frame = (column * width / columns, y0, (column + 1) * width / columns, y1)
            _crate(rng, scene, frame, kinds[(shelf * columns + column) % len(kinds)])


def paint_garden(rng: np.random.Generator, scene: Pixels) -> None:
    """A bed of leaves and flowers, seen from close by: many layers, each lit more than the last."""
    rows, width = scene.shape[:2]
    scene[:] = (18, 26, 16)
    layers = 7
    for layer in range(layers):
        nearness = layer / (layers - 1)
        size = rows * (0.012 + 0.024 * nearness)
        count = int(0.62 * rows * width / (size * size))
        centres = rng.random((count, 2)) * [width, rows]
        sizes = size * rng.uniform(0.6, 1.3, count)
        greens = np.array([(44, 92, 40), (76, 122, 44), (110, 150, 62), (60, 110, 70)], np.float64)
        light = (0.34 + 0.7 * nearness) * rng.uniform(0.75, 1.25, (count, 1))
        paint_leaves(rng, scene, centres, sizes, greens[rng.integers(0, 4, count)] * light)
        if layer >= 3:
            for _ in range(16 + 10 * (layer - 3)):
                centre = tuple((rng.random(2) * [width, rows]).tolist())
                radius = rows * rng.uniform(0.014, 0.03) * (0.6 + 0.7 * nearness)
                colour = np.array(_BLOOMS[int(rng.integers(len(_BLOOMS)))]) * (0.6 + 0.4 * nearness)
                paint_flower(rng, scene, centre, radius, colour)


SCENES: tuple[Callable[[np.random.Generator, Pixels], None], ...] = (
    paint_street,
    paint_valley,
    paint_market,
    paint_harbour,
    paint_garden,
)

_FRUITS: tuple[tuple[str, Colour, Colour, float], ...] = (
    ("ORANGES", (244, 138, 24), (226, 96, 14), 0.052),
    ("APPLES", (206, 34, 36), (226, 178, 60), 0.05),
    ("LIMES", (104, 168, 40), (72, 132, 34), 0.038),
    ("PLUMS", (98, 42, 96), (60, 30, 80), 0.036),
    ("LEMONS", (250, 216, 56), (232, 190, 40), 0.042),
    ("TOMATOES", (222, 44, 28), (190, 30, 22), 0.044),
    ("PEACHES", (248, 176, 104), (222, 90, 70), 0.048),
    ("CHERRIES", (150, 14, 34), (110, 8, 28), 0.024),
    ("GRANNY", (156, 200, 62), (128, 178, 50), 0.05),
    ("FIGS", (84, 56, 82), (62, 70, 50), 0.034),
)


def _row_of_houses(
    rng: np.random.Generator, scene: Pixels, ground: int, tall: tuple[float, float]
) -> None:
    """Fronts from edge to edge, standing on row `ground`, each with its roof and chimneys."""
    rows, width = scene.shape[:2]
    unit = rows * (tall[0] + tall[1]) / 2 / 13
    x = -rng.uniform(0, 0.1) * width
    while x < width:
        wide = int(unit * rng.uniform(5.2, 9.0))
        high = int(rows * rng.uniform(*tall))
        roof_high = int(unit * rng.uniform(1.6, 3.0))
        top = ground - high
        lean = rng.uniform(0.0, 0.35) * wide
        roof = paint_roof(rng, roof_high, wide, unit)
        corners = np.array([[x + lean, top - roof_high], [x + wide - lean, top - roof_high],
                            [x + wide, top], [x, top]])  # fmt: skip
        for _ in range(int(rng.integers(0, 3))):
            cx = x + lean + rng.uniform(0, 1) * max(0.0, wide - 2 * lean - 0.7 * unit)
            stack = paint_wall(
                rng, int(1.6 * unit), int(0.7 * unit), (150, 84, 66), unit, brick=True
            )
            foot = top - roof_high * 0.6
            paste_warped(scene, stack, _rectangle(cx, foot - 1.6 * unit, 0.7 * unit, 1.6 * unit))
        paste_warped(scene, roof, corners)
        front = paint_front(rng, high, wide, unit)
        paste_warped(scene, front, _rectangle(x, top, wide, high), rng.uniform(0.86, 1.08))
        x += wide
    _shadow_across(rng, scene[max(0, ground - int(rows * 0.5)) : ground])


def _shadow_across(rng: np.random.Generator, region: Pixels) -> None:
    """The shadow of the houses opposite: the lower part lies in shade behind a slanting edge."""
    h, w = region.shape[:2]
    skyline = np.repeat(rng.uniform(0.55, 0.9, 7), np.diff(np.linspace(0, w, 8).astype(int)))
    slope = np.linspace(0, rng.uniform(-0.2, 0.2), w)
    edge = ((skyline + slope) * h).astype(np.float32)
    below = np.arange(h, dtype=np.float32)[:, None] - edge[None, :]
    dark = cv2.GaussianBlur(np.clip(below, 0, 1), (0, 0), 1.5)
    shade(region, 1 - 0.42 * dark)


def _cobbles(rng: np.random.Generator, scene: Pixels, top: int) -> None:
    """A pavement of rounded stones in perspective."""
    rows, width = scene.shape[:2]
    stone = 46
    count = 26
    tile = np.full((count * stone, count * stone, 3), 62, np.uint8)
    for row in range(count):
        for column in range(-1, count):
            x, y = column * stone + (row % 2) * stone // 2, row * stone
            grey = rng.uniform(96, 156)
            colour = (grey * rng.uniform(0.98, 1.06), grey, grey * rng.uniform(0.92, 1.0))
            radius = stone // 2 - int(rng.integers(2, 5))
            centre = (x + stone // 2, y + stone // 2)
            cv2.ellipse(
                tile,
                centre,
                (radius, radius - 2),
                rng.uniform(0, 90),
                0,
                360,
                colour,
                -1,
                cv2.LINE_AA,
            )
            cv2.ellipse(tile, (centre[0] - 3, centre[1] - 4), (radius - 8, radius - 10), 0, 0, 360,
                        [1.12 * c for c in colour], -1, cv2.LINE_AA)  # fmt: skip
    tile = cv2.GaussianBlur(tile, (0, 0), 1.2)
    shade(tile, 1 + 0.09 * fractal(rng, *tile.shape[:2], coarsest=0.1, falloff=0.8))
    depth = np.linspace(0.3, 1.0, rows - top, dtype=np.float32)[:, None]
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    size = np.float32(tile.shape[0])
    u = (across / depth * 1.5 * size + size * 8) % size
    v = np.repeat((0.9 / depth * size) % size, width, axis=1)
    scene[top:] = cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    shade(scene[top:], np.repeat(0.62 + 0.5 * depth, width, axis=1))


def _crate(
    rng: np.random.Generator, scene: Pixels, frame: tuple[float, float, float, float], kind: int
) -> None:
    """A wooden crate heaped with one kind of fruit, and a card with its price."""
    x0, y0, x1, y1 = frame
    rows = scene.shape[0]
    name, colour, other, size = _FRUITS[kind]
    wood = paint_wall(rng, int(y1 - y0), int(x1 - x0), (164, 122, 78), rows / 14, brick=False)
    paste_warped(scene, wood, _rectangle(x0, y0, x1 - x0, y1 - y0), 0.42)
    radius = rows * size * 0.75
    inner = (
        x0 + 0.04 * (x1 - x0),
        y0 + 0.06 * (y1 - y0),
        x1 - 0.04 * (x1 - x0),
        y1 - 0.2 * (y1 - y0),
    )
    sprites = [_fruit(rng, colour, other, radius) for _ in range(6)]
    step = radius * 1.25
    for y in np.arange(inner[1] + radius, inner[3] + 0.4 * radius, step * 0.8):
        for x in np.arange(inner[0] + radius, inner[2] - 0.6 * radius, step * 1.25):
            at = (x + rng.normal(0, 0.2) * radius, y + rng.normal(0, 0.16) * radius)
            _stamp(scene, sprites[int(rng.integers(6))], at)
    board = (y1 - y0) * 0.2
    slat = paint_wall(rng, int(board), int(x1 - x0), (196, 152, 100), rows / 14, brick=False)
    shade(
        slat,
        np.repeat(
            np.linspace(1.1, 0.8, slat.shape[0], dtype=np.float32)[:, None], slat.shape[1], 1
        ),
    )
    paste_warped(scene, slat, _rectangle(x0 + 2, y1 - board, x1 - x0 - 4, board - 3))
    price = f"{name}  {rng.integers(1, 6)}.{rng.integers(0, 10)}0"
    card = paint_sign(
        (int((x1 - x0) * 0.56), int(board * 0.86)), price, (30, 34, 32), (244, 240, 226)
    )
    angle = rng.uniform(-0.04, 0.04)
    corners = _rectangle(x0 + 0.22 * (x1 - x0), y1 - board * 1.02, card.shape[1], card.shape[0])
    centre = corners.mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    paste_warped(scene, card, (corners - centre) @ turn.T + centre)


def _fruit(
    rng: np.random.Generator, colour: Colour, other: Colour, radius: float
) -> tuple[Pixels, Field]:
    """A lit ball with its cover (antialiased) and a soft dark rim, on which neighbours rest."""
    radius *= rng.uniform(0.92, 1.08)
    half = int(radius * 1.25) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32) / np.float32(radius)
    distance = np.hypot(x, y * rng.uniform(0.97, 1.08))
    z = np.sqrt(np.maximum(0, 1 - distance**2))
    light = np.clip(-0.42 * x - 0.6 * y + 0.68 * z, 0, 1)
    patch = fractal(rng, 2 * half + 1, 2 * half + 1, coarsest=0.6, falloff=0.55)
    mix = np.clip(0.5 + 0.35 * patch, 0, 1)[:, :, None]
    skin = np.array(colour, np.float32) * mix + np.array(other, np.float32) * (1 - mix)
    pores = 1 + 0.05 * fractal(rng, 2 * half + 1, 2 * half + 1, coarsest=0.06, falloff=0.9)
    shine = np.exp(-((x + 0.36) ** 2 + (y + 0.46) ** 2) / 0.028) * 190
    body = skin * (0.26 + 0.86 * light * pores)[:, :, None] + shine[:, :, None]
    cover = np.clip((1 - distance) * radius + 0.5, 0, 1)
    shadow = 0.62 * np.clip((1.22 - np.hypot(x - 0.05, y - 0.08)) / 0.24, 0, 1)
    total = cover + shadow * (1 - cover)
    picture = body * (cover / np.maximum(total, 1e-3))[:, :, None]
    return np.clip(picture, 0, 255).astype(np.uint8), total.astype(np.float32)


def _stamp(scene: Pixels, sprite: tuple[Pixels, Field], centre: tuple[float, float]) -> None:
    picture, cover = sprite
    half = picture.shape[0] // 2
    left, top = int(centre[0]) - half, int(centre[1]) - half
    x0, y0 = max(0, left), max(0, top)
    x1 = min(scene.shape[1], left + picture.shape[1])
    y1 = min(scene.shape[0], top + picture.shape[0])
    if x0 < x1 and y0 < y1:
        window = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        lay(scene[y0:y1, x0:x1], picture[window], cover[window])


def _ground_shadow(scene: Pixels, foot: tuple[float, float], height: float) -> None:
    """The soft shadow that a tree throws on level ground, to the lower right."""
    x, y = foot
    half = (int(height * 0.42), int(height * 0.07))
    y0, y1 = max(0, int(y) - half[1]), min(scene.shape[0], int(y) + 2 * half[1])
    mask = np.zeros((y1 - y0, scene.shape[1]), np.float32)
    centre = (int(x + height * 0.12), int(y) - y0 + half[1] // 3)
    cv2.ellipse(mask, centre, half, 0, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), height * 0.02)
    shade(scene[y0:y1], 1 - 0.55 * mask)


def _weather(rng: np.random.Generator, scene: Pixels) -> None:
    """Uneven light and the grain of real surfaces, over everything."""
    rows, width = scene.shape[:2]
    light = cv2.resize(
        fractal(rng, 48, 64, coarsest=0.6), (width, rows), interpolation=cv2.INTER_CUBIC
    )
    grain = fractal(rng, rows, width, coarsest=0.004, falloff=0.9)
    shade(scene, 1 + 0.045 * light + 0.025 * grain)


def _rectangle(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float64)
