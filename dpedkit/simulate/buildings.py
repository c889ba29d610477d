"""House fronts: walls of plaster, brick or timber, windows, shops, signs and roofs.

A front is painted flat, as its own texture, and then laid into a scene.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dpedkit.simulate.textures import Colour, Pixels, fractal, lay, palette_map, shade

WALL_COLOURS = (
    (206, 92, 62), (226, 168, 66), (236, 206, 140), (122, 160, 176), (196, 122, 96),
    (148, 74, 62), (228, 222, 206), (104, 138, 112), (216, 140, 120), (86, 112, 152),
    (232, 190, 110), (172, 60, 50),
)  # fmt: skip
ACCENTS = (
    (34, 84, 62), (30, 62, 110), (122, 34, 36), (60, 44, 34), (40, 40, 44), (20, 104, 112),
    (246, 244, 236), (196, 140, 40),
)  # fmt: skip
SHOP_NAMES = (
    "BAKERY", "Cafe Linden", "BOOKS", "Optik", "FLORIST", "Trattoria", "HOTEL", "Tea & Spices",
    "Apotheke", "CINEMA", "Fromagerie", "BICYCLES", "Gelato", "Antiques", "Records", "Pension 24",
)  # fmt: skip


def paint_front(rng: np.random.Generator, height: int, width: int, unit: float) -> Pixels:
    """One house front, seen straight on.

    Parameters
    ----------
    height, width : int
        Size of the front in pixels, roof not included.
    unit : float
        Pixels per metre or so; windows, bricks and letters are sized by it.

    Returns
    -------
    (height, width, 3) array of uint8
    """
    colour = WALL_COLOURS[rng.integers(len(WALL_COLOURS))]
    accent = ACCENTS[rng.integers(len(ACCENTS))]
    front = paint_wall(rng, height, width, colour, unit, brick=rng.random() < 0.35)
    trim = np.clip(np.array(colour) * 0.35 + 160, 0, 255)

    shop_height = int(3.3 * unit)
    storeys = max(1, int((height - shop_height - 0.5 * unit) / (3.0 * unit)))
    storey = (height - shop_height - 0.5 * unit) / storeys
    columns = max(1, int(width / (1.9 * unit)))
    bay = width / columns
    shutters = rng.random() < 0.45
    boxes = rng.random() < 0.4
    tall = min(storey * 0.62, 2.0 * unit)
    for floor in range(storeys):
        top = 0.55 * unit + floor * storey + (storey - tall) * 0.4
        for column in range(columns):
            wide = min(bay * 0.52, 1.05 * unit)
            left = (column + 0.5) * bay - wide / 2
            frame = (int(left), int(top), int(wide), int(tall))
            _window(rng, front, frame, trim, accent, unit, shutters, boxes and floor < 2)
        ledge = int(0.5 * unit + floor * storey)
        _ledge(front, ledge, int(0.13 * unit), trim)
    _ledge(front, 0, int(0.32 * unit), trim)
    _shop(rng, front[height - shop_height :], accent, unit)
    return front


def paint_wall(
    rng: np.random.Generator, height: int, width: int, colour: Colour, unit: float, *, brick: bool
) -> Pixels:
    """A wall of weathered plaster, or of bricks."""
    base = np.array(colour, np.float64)
    stains = fractal(rng, height, width, coarsest=0.4, falloff=0.6)
    tone = [base * 0.74, base * 0.95, base * 1.03, np.minimum(base * 1.16 + 6, 255)]
    if not brick:
        return palette_map(stains, tone, -3.2, 3.0)
    long, high = max(6, round(0.26 * unit)), max(4, round(0.095 * unit))
    rows, columns = height // high + 2, width // long + 2
    tint = (
        rng.normal(1, 0.13, (rows, columns, 1)) * base * rng.uniform(0.94, 1.06, (rows, columns, 3))
    )
    y, x = np.mgrid[0:height, 0:width]
    row = y // high
    across = x + (row % 2) * (long // 2)
    wall = np.clip(tint[row, across // long], 0, 255).astype(np.uint8)
    joint = max(1, round(0.014 * unit))
    mortar = (y % high < joint) | (across % long < joint)
    wall[mortar] = np.clip(base * 0.35 + 112, 0, 255).astype(np.uint8)
    shadow = (y % high == joint) & ~mortar
    wall[shadow] = (wall[shadow] * 0.8).astype(np.uint8)
    shade(wall, 1 + 0.06 * stains)
    return wall


def paint_roof(rng: np.random.Generator, height: int, width: int, unit: float) -> Pixels:
    """Rows of overlapping tiles."""
    base = np.array(((168, 84, 60), (120, 64, 52), (92, 92, 100), (142, 92, 70))[rng.integers(4)])
    tile, course = max(5, round(0.2 * unit)), max(5, round(0.24 * unit))
    y, x = np.mgrid[0:height, 0:width]
    row = y // course
    across = x + (row % 2) * (tile // 2)
    tint = rng.normal(1, 0.1, (height // course + 2, width // tile + 2))
    bow = np.sin(np.pi * (across % tile) / tile)
    light = tint[row, across // tile] * (0.62 + 0.45 * bow) * (0.72 + 0.42 * (y % course) / course)
    roof = np.clip(base * light[:, :, None], 0, 255).astype(np.uint8)
    shade(roof, 1 + 0.08 * fractal(rng, height, width, coarsest=0.5))
    return roof


def paint_sign(
    size: tuple[int, int], text: str, ground: Colour, ink: Colour, *, border: bool = True
) -> Pixels:
    """A painted board with a line of text that fills it; (height, width, 3) uint8."""
    width, height = size
    board = Image.new("RGB", size, tuple(int(value) for value in ground))
    draw = ImageDraw.Draw(board)
    fill = tuple(int(value) for value in ink)
    letters = height * 0.62
    font = ImageFont.load_default(max(6.0, letters))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    if right - left > 0.86 * width:
        letters *= 0.86 * width / (right - left)
        font = ImageFont.load_default(max(6.0, letters))
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    at = ((width - right - left) / 2, (height - bottom - top) / 2)
    draw.text(at, text, fill=fill, font=font)
    line = max(1, height // 24)
    if border and min(width, height) > 4 * line:
        draw.rectangle((line, line, width - 1 - line, height - 1 - line), outline=fill, width=line)
    return np.array(board)


def paint_awning(rng: np.random.Generator, height: int, width: int, stripe: int) -> Pixels:
    """A striped awning that slopes towards the viewer, darker in its folds."""
    colour = np.array(ACCENTS[rng.integers(6)], np.float64) * 1.35
    pale = np.array((246, 240, 226), np.float64)
    x = np.arange(width)
    stripes = np.where(((x // stripe) % 2 == 0)[:, None], colour, pale)
    fold = 0.9 + 0.12 * np.sin(2 * np.pi * x / stripe)[:, None]
    light = np.linspace(1.08, 0.82, height)[:, None, None]
    cloth = np.clip((stripes * fold)[None] * light, 0, 255).astype(np.uint8)
    shade(cloth, 1 + 0.03 * fractal(rng, height, width, coarsest=0.3))
    hem = max(2, height // 5)
    for start in range(0, width, stripe):
        tint = cloth[max(0, height - hem - 1), min(start + stripe // 2, width - 1)].tolist()
        centre = (start + stripe // 2, height - hem)
        cv2.ellipse(
            cloth,
            centre,
            (stripe // 2, hem - 1),
            0,
            0,
            180,
            [0.88 * c for c in tint],
            -1,
            cv2.LINE_AA,
        )
    return cloth


def _window(
    rng: np.random.Generator,
    front: Pixels,
    frame: tuple[int, int, int, int],
    trim: Colour,
    accent: Colour,
    unit: float,
    shutters: bool,
    box: bool,
) -> None:
    x, y, w, h = frame
    rim = max(2, round(0.09 * unit))
    _box(front, x - rim, y - rim, w + 2 * rim, h + 2 * rim, trim)
    x0, y0, x1, y1 = max(0, x), max(0, y), min(front.shape[1], x + w), min(front.shape[0], y + h)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    glass = front[y0:y1, x0:x1]
    sky = np.linspace(rng.uniform(0.5, 1.0), 0.2, y1 - y0)[:, None, None]
    tint = np.array(((120, 156, 190), (92, 116, 130), (150, 160, 166))[rng.integers(3)])
    pane = np.clip(sky * tint + 14, 0, 255) + np.zeros((1, x1 - x0, 1))
    reflection = fractal(rng, y1 - y0, x1 - x0, coarsest=0.7, falloff=0.45)
    glass[:] = np.clip(pane * (1 + 0.22 * reflection[:, :, None]), 0, 255).astype(np.uint8)
    if rng.random() < 0.55:
        _curtains(rng, glass)
    bar = max(1, round(0.05 * unit))
    wood = trim if rng.random() < 0.7 else accent
    _box(front, x + w // 2 - bar // 2, y, bar, h, wood)
    _box(front, x, y + int(h * 0.32), w, bar, wood)
    for edge in (
        (x, y, w, bar),
        (x, y + h - bar, w, bar),
        (x, y, bar, h),
        (x + w - bar, y, bar, h),
    ):
        _box(front, *edge, wood)
    _darken(front, x, y, w, max(2, round(0.16 * unit)), 0.55)
    _darken(front, x, y, max(1, round(0.07 * unit)), h, 0.7)
    sill = max(2, round(0.1 * unit))
    _box(front, x - 2 * rim, y + h + rim, w + 4 * rim, sill, np.minimum(np.array(trim) * 1.05, 255))
    _darken(front, x - 2 * rim, y + h + rim + sill, w + 4 * rim, max(2, round(0.12 * unit)), 0.62)
    if shutters:
        leaf = int(w * 0.46)
        for left in (x - rim - leaf, x + w + rim):
            _shutter(front, left, y - rim // 2, leaf, h + rim, accent, unit)
    if box:
        _flower_box(rng, front, x, y + h + rim, w, unit)


def _curtains(rng: np.random.Generator, glass: Pixels) -> None:
    w = glass.shape[1]
    cloth = np.array(((236, 230, 214), (214, 190, 170), (240, 240, 240))[rng.integers(3)])
    drawn = int(w * rng.uniform(0.16, 0.36))
    fold = 0.72 + 0.2 * np.sin(np.arange(drawn) / max(1.5, w * 0.025))
    panel = np.clip(cloth * fold[:, None] * 0.85, 0, 255).astype(np.uint8)
    glass[:, :drawn] = panel[None]
    glass[:, w - drawn :] = panel[None, ::-1]


def _shutter(front: Pixels, x: int, y: int, w: int, h: int, colour: Colour, unit: float) -> None:
    _box(front, x, y, w, h, colour)
    slat = max(3, round(0.09 * unit))
    for row in range(y + slat, y + h - slat, slat):
        _darken(front, x + slat // 2, row, w - slat, max(1, slat // 3), 0.6)
        _darken(front, x + slat // 2, row + slat // 3, w - slat, max(1, slat // 3), 1.25)
    _darken(front, x + w, y + 2, max(1, slat // 2), h, 0.65)


def _flower_box(
    rng: np.random.Generator, front: Pixels, x: int, y: int, w: int, unit: float
) -> None:
    _box(front, x, y, w, round(0.22 * unit), (112, 70, 48))
    count = int(60 + w * 0.6)
    spots = np.stack([rng.uniform(x, x + w, count), y - rng.gamma(2.0, 0.055 * unit, count)], 1)
    bloom = np.array(
        ((220, 40, 60), (244, 120, 160), (250, 214, 90), (246, 246, 246))[rng.integers(4)]
    )
    leafy = rng.random(count) < 0.55
    for (px, py), green in zip(spots.tolist(), leafy, strict=True):
        tint = np.array((58, 112, 48)) if green else bloom
        colour = np.clip(tint * rng.uniform(0.7, 1.2), 0, 255).tolist()
        radius = round(rng.uniform(0.02, 0.05) * unit * 16)
        cv2.circle(front, (round(px * 16), round(py * 16)), radius, colour, -1, cv2.LINE_AA, 4)


def _shop(rng: np.random.Generator, ground: Pixels, accent: Colour, unit: float) -> None:
    """The ground floor: a shop window with goods, a door, a sign, sometimes an awning."""
    h, w = ground.shape[:2]
    _box(ground, 0, 0, w, h, np.array(accent) * 0.9)
    shade(ground, 1 + 0.07 * fractal(rng, h, w, coarsest=0.5))
    door = int(min(1.2 * unit, w * 0.3))
    left = int(rng.choice([0.25 * unit, w - door - 0.25 * unit]))
    head = int(0.85 * unit)
    panes = (
        (int(0.25 * unit), left - int(0.2 * unit))
        if left > w / 2
        else (left + door + int(0.2 * unit), w - int(0.25 * unit))
    )
    _display(rng, ground[head : h - int(0.5 * unit), panes[0] : panes[1]], unit)
    _box(ground, left, head, door, h - head, np.array(ACCENTS[rng.integers(len(ACCENTS))]) * 0.8)
    inset = int(0.14 * unit)
    _display(
        rng, ground[head + inset : h - int(1.0 * unit), left + inset : left + door - inset], unit
    )
    name = SHOP_NAMES[rng.integers(len(SHOP_NAMES))]
    light = sum(accent) > 480
    ink = (52, 40, 34) if light else (250, 236, 196)
    board = paint_sign((max(8, int(w * 0.9)), int(0.6 * unit)), name, accent, ink)
    y = int(0.14 * unit)
    ground[y : y + board.shape[0], int(w * 0.05) : int(w * 0.05) + board.shape[1]] = board
    _darken(
        ground, int(w * 0.05), y + board.shape[0], board.shape[1], max(2, int(0.07 * unit)), 0.55
    )
    if rng.random() < 0.55 and panes[1] - panes[0] > unit:
        cloth = paint_awning(rng, int(0.75 * unit), panes[1] - panes[0], max(4, int(0.22 * unit)))
        ground[head : head + cloth.shape[0], panes[0] : panes[1]] = cloth
        _darken(ground, panes[0], head + cloth.shape[0], panes[1] - panes[0], int(0.35 * unit), 0.6)


def _display(rng: np.random.Generator, glass: Pixels, unit: float) -> None:
    """Goods on shelves behind glass, with a slanting reflection."""
    h, w = glass.shape[:2]
    if h < 8 or w < 8:
        return
    glass[:] = (np.linspace(70, 34, h)[:, None, None] * np.array([1.0, 0.86, 0.68])).astype(
        np.uint8
    )
    shelves = max(2, int(h / (0.55 * unit)))
    for shelf in range(1, shelves + 1):
        base = int(h * shelf / shelves) - 2
        x = 2.0
        while x < w - 4:
            goods = rng.uniform(0.08, 0.26) * unit
            tall = rng.uniform(0.3, 0.85) * h / shelves
            colour = np.clip(rng.uniform(40, 235, 3) * [1.0, 0.85, 0.7], 0, 255)
            _box(glass, int(x), int(base - tall), max(2, int(goods)), int(tall), colour)
            _darken(
                glass,
                int(x + goods * 0.7),
                int(base - tall),
                max(1, int(goods * 0.3)),
                int(tall),
                0.7,
            )
            x += goods + rng.uniform(0.01, 0.09) * unit
        _box(glass, 0, base, w, max(1, int(0.04 * unit)), (150, 112, 76))
    y, x2 = np.mgrid[0:h, 0:w].astype(np.float32)
    slant = np.sin((x2 + 0.6 * y) * (2.2 / max(unit, 1))) > 0.82
    lay(glass, (226, 234, 240), (0.08 + 0.16 * slant).astype(np.float32))


def _ledge(front: Pixels, y: int, height: int, colour: Colour) -> None:
    _box(front, 0, y, front.shape[1], height, colour)
    _darken(front, 0, y + height, front.shape[1], max(2, int(height * 0.9)), 0.66)


def _box(image: Pixels, x: int, y: int, w: int, h: int, colour: Colour) -> None:
    image[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)] = np.clip(colour, 0, 255)


def _darken(image: Pixels, x: int, y: int, w: int, h: int, factor: float) -> None:
    region = image[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)]
    region[:] = np.minimum(region * factor, 255).astype(np.uint8)
