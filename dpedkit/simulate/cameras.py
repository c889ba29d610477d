"""Two cameras photograph one scene: known geometry, known colours, known flaws.

A scene is a picture in DSLR pixels that is a little larger than the DSLR photo. The DSLR records
a crop of it, the phone a smaller, wider, duller, noisier picture through a distorting lens. Objects
in front of the scene are drawn over both views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import PairMap, grid_points
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.depth import Surface, draw_surfaces
from dpedkit.simulate.layers import Layer, lay_over_dslr, lay_over_phone
from dpedkit.simulate.textures import Field, Pixels

_MAP_STEP = 4  # supersampled pixels between the points at which the map is computed exactly
_SUPERSAMPLING = 2
_LEVELS = 4096
_FIELD_SHAPE = (8, 10)  # control points of the parallax field
_CAMERA_STREAM, _POSITION_STREAM, _EXPOSURE_STREAM = 1, 2, 3


@dataclass(frozen=True)
class PhoneCamera:
    """How the phone turns light into pixels.

    Attributes
    ----------
    mixing : tuple of tuple of float
        3x3: how much of the scene's linear R, G, B each channel of the sensor sees (rows sum to 1).
    gains : tuple of float
        Factors on linear R, G, B: exposure and white balance.
    gamma : tuple of float
        Exponents of the tone curve per channel, on top of the sRGB curve.
    contrast : float
        Weight of an S-curve; negative ones flatten the midtones.
    black, white : float
        Levels (0 to 1) that darkness and full light are rendered as.
    vignetting : float
        Light lost in the corners.
    blur : float
        Sigma in pixels.
    noise : float
        Standard deviation in 8-bit levels.
    """

    mixing: tuple[tuple[float, ...], ...]
    gains: tuple[float, ...]
    gamma: tuple[float, ...]
    contrast: float
    black: float
    white: float
    vignetting: float
    blur: float
    noise: float

    def to_dict(self) -> dict[str, Any]:
        """The camera as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Position:
    """Where the two cameras stand, as sizes in pixels and a map.

    Attributes
    ----------
    map : PairMap
        Phone pixels to DSLR pixels of the scene's farthest surface, and the sizes of both photos.
    origin : tuple of int
        Scene pixel that is the DSLR photo's pixel (0, 0).
    scene_size : tuple of int
        Width and height of a scene that both frames lie in.
    overlap : float
        Part of the phone photo that the DSLR sees too, on the farthest surface.
    surfaces : tuple of Surface
        Farthest first; the first is that of `map`, and the only one of a flat scene.
    """

    map: PairMap
    origin: tuple[int, int]
    scene_size: tuple[int, int]
    overlap: float
    surfaces: tuple[Surface, ...]


def frame_sizes(
    config: SimulateConfig, scale: float = 1.0
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of the phone photo (4:3) and the DSLR photo (3:2), even numbers."""
    return (
        _frame_size(config.phone_megapixels, 4 / 3, scale),
        _frame_size(config.dslr_megapixels, 3 / 2, scale),
    )


def draw_position(config: SimulateConfig, index: int, scale: float = 1.0) -> Position:
    """Place the cameras for pair `index`; `scale` makes both photos larger or smaller."""
    rng = np.random.default_rng([config.seed, _POSITION_STREAM, index])
    phone_size, dslr_size = (np.array(size) for size in frame_sizes(config, scale))
    overlap = rng.uniform(config.min_overlap, config.max_overlap)
    # Part of the frame hangs over the edges, so that the drawn overlap is only nearly met.
    phone_per_dslr = np.sqrt(1.04 * overlap * phone_size.prod() / dslr_size.prod())
    angle = np.radians(rng.uniform(-config.rotation, config.rotation))
    slack = np.abs(phone_size - dslr_size * phone_per_dslr) / 2 + 0.01 * phone_size
    shift = rng.uniform(-0.8, 0.8, 2) * slack
    tilt = rng.uniform(-config.perspective, config.perspective, 2) / phone_size

    centred = _translation(-(phone_size - 1) / 2 - shift)
    zoom, cos, sin = 1 / phone_per_dslr, np.cos(angle), np.sin(angle)
    turned = np.array([[zoom * cos, -zoom * sin, 0], [zoom * sin, zoom * cos, 0], [0, 0, 1]])
    tilted = np.array([[1, 0, 0], [0, 1, 0], [*tilt, 1]])
    homography = _translation((dslr_size - 1) / 2) @ turned @ tilted @ centred
    phone_shape = (int(phone_size[0]), int(phone_size[1]))
    pair_map = PairMap(
        homography / homography[2, 2],
        phone_shape,
        (int(dslr_size[0]), int(dslr_size[1])),
        (config.k1, 0.0, 0.0),
        _parallax_field(rng, config.parallax),
    )

    surfaces = draw_surfaces(config, index, pair_map)
    border = _border(phone_size)
    # Ground shares the scene's picture, so the scene must reach as far as the phone sees of both.
    shared = [surface.map for surface in surfaces if surface.outline is None or surface.joined]
    border = np.concatenate([surface_map(border) for surface_map in shared])
    margin = 4
    low = np.floor(np.minimum(border.min(axis=0), 0)).astype(int) - margin
    high = np.ceil(np.maximum(border.max(axis=0), dslr_size)).astype(int) + margin
    return Position(
        pair_map,
        (int(-low[0]), int(-low[1])),
        (int(high[0] - low[0]), int(high[1] - low[1])),
        _overlap(pair_map),
        surfaces,
    )


def draw_phone(config: SimulateConfig, index: int) -> PhoneCamera:
    """The phone for pair `index`: the same camera, with small random errors each time."""
    camera = [config.seed, _CAMERA_STREAM]
    body = np.random.default_rng([*camera, index] if config.new_phone_each_pair else camera)
    shot = np.random.default_rng([config.seed, _EXPOSURE_STREAM, index])
    crosstalk = body.uniform(0.04, 0.10, (3, 3))
    np.fill_diagonal(crosstalk, 1)
    mixing = crosstalk / crosstalk.sum(axis=1, keepdims=True)
    wide = config.new_phone_each_pair
    gamma = body.uniform(0.7, 1.4) if wide else body.uniform(0.86, 0.94)
    per_channel = gamma * body.uniform(0.95, 1.05, 3)
    gains = body.uniform(0.75, 1.0, 3) if wide else np.array([0.80, 0.90, 0.97])
    exposure = 2 ** shot.uniform(-config.exposure, config.exposure)
    balance = 1 + shot.uniform(-config.white_balance, config.white_balance, 3) * [1, 0, 1]
    return PhoneCamera(
        mixing=tuple(tuple(row) for row in mixing.tolist()),
        gains=tuple((gains * exposure * balance).tolist()),
        gamma=tuple(per_channel.tolist()),
        contrast=body.uniform(-0.4, 0.6) if wide else body.uniform(-0.35, -0.25),
        black=body.uniform(0.02, 0.05),
        white=body.uniform(0.93, 0.98),
        vignetting=config.vignetting,
        blur=config.blur * shot.uniform(0.6, 1.4),
        noise=config.noise * shot.uniform(0.55, 1.45),
    )


def photograph_with_phone(
    scene: Pixels,
    position: Position,
    camera: PhoneCamera,
    rng: np.random.Generator,
    layers: Sequence[Layer] = (),
) -> Pixels:
    """The phone's picture of a scene and the layers before it; (h, w, 3) uint8."""
    light = _linear(_seen_by_phone(scene, position, layers))
    light = light @ np.array(camera.mixing, np.float32).T
    light *= _vignette(light.shape[:2], camera.vignetting)[:, :, None]
    light *= np.array(camera.gains, np.float32)
    if camera.blur > 0:
        light = cv2.GaussianBlur(light, (0, 0), camera.blur, borderType=cv2.BORDER_REFLECT_101)
    level = np.clip(light * (_LEVELS - 1), 0, _LEVELS - 1).astype(np.uint16)
    curves = _tone_curves(camera)
    signal = cv2.merge([curves[channel][level[:, :, channel]] for channel in range(3)])
    signal += camera.noise * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.clip(signal + 0.5, 0, 255).astype(np.uint8)


def photograph_with_dslr(
    scene: Pixels, position: Position, rng: np.random.Generator, layers: Sequence[Layer] = ()
) -> Pixels:
    """The DSLR's picture of a scene: a crop, hardly softened, with a trace of noise."""
    x, y = position.origin
    width, height = position.map.dslr_size
    crop = scene[y : y + height, x : x + width]
    if layers:
        crop = crop.copy()
        lay_over_dslr(crop, layers)
    crop = cv2.GaussianBlur(crop, (0, 0), 0.5)
    grain = np.rint(0.8 * rng.standard_normal(crop.shape, dtype=np.float32)).astype(np.int16)
    return np.clip(crop + grain, 0, 255).astype(np.uint8)


def _frame_size(megapixels: float, aspect: float, scale: float) -> tuple[int, int]:
    height = np.sqrt(megapixels * 1e6 / aspect) * scale
    return 2 * round(height * aspect / 2), 2 * round(height / 2)


def _translation(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([[1, 0, offset[0]], [0, 1, offset[1]], [0, 0, 1]], np.float64)


def _parallax_field(rng: np.random.Generator, largest: float) -> NDArray[np.float64] | None:
    """Spline coefficients of a field of long waves that displaces by at most `largest` px."""
    frequency, phase = rng.uniform(-0.8, 0.8, (3, 2, 2)), rng.uniform(0, 2 * np.pi, (3, 2))
    if largest == 0:
        return None
    y, x = np.mgrid[0 : _FIELD_SHAPE[0], 0 : _FIELD_SHAPE[1]] / max(_FIELD_SHAPE)
    turns = np.einsum("wdk,krc->wrcd", frequency, np.stack([x, y]))
    field = np.sin(2 * np.pi * turns + phase[:, None, None, :]).sum(axis=0)
    return field * (largest / np.linalg.norm(field, axis=2).max())


def _border(size: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points along the outer edge of a photo's border pixels, one pixel further out."""
    along = np.linspace(-1, 1, 65)
    ends = np.ones_like(along)
    sides = ((along, -ends), (along, ends), (-ends, along), (ends, along))
    square = np.concatenate([np.stack(side, axis=1) for side in sides])
    return (square * (size + 1) + size - 1) / 2


def _overlap(pair_map: PairMap) -> float:
    """Part of the phone photo that falls inside the DSLR photo."""
    xs, ys = (np.linspace(0, length - 1, 101) for length in pair_map.phone_size)
    points = pair_map(grid_points(xs, ys))
    inside = ((points >= 0) & (points <= np.array(pair_map.dslr_size) - 1)).all(axis=1)
    return float(inside.mean())


def _seen_by_phone(scene: Pixels, position: Position, layers: Sequence[Layer]) -> Pixels:
    """The scene on the phone's pixel grid: supersampled, then averaged over each pixel's area."""
    width, height = position.map.phone_size
    fine = (width * _SUPERSAMPLING, height * _SUPERSAMPLING)
    # The map is smooth: exact at every 4th supersampled pixel, and linear between, it is right to
    # a thousandth of a pixel. One more point on each side spares the borders from extrapolation.
    nodes = [np.arange(-1, -(-length // _MAP_STEP) + 1) for length in fine]
    xs, ys = (((node + 0.5) * _MAP_STEP / _SUPERSAMPLING) - 0.5 for node in nodes)
    points = position.map(grid_points(xs, ys))
    grid = (points + position.origin).astype(np.float32).reshape(len(ys), len(xs), 2)
    full = (len(xs) * _MAP_STEP, len(ys) * _MAP_STEP)
    dense = cv2.resize(grid, full, interpolation=cv2.INTER_LINEAR)
    dense = dense[_MAP_STEP : _MAP_STEP + fine[1], _MAP_STEP : _MAP_STEP + fine[0]]
    samples = cv2.remap(scene, dense, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    del dense  # large, and done with
    lay_over_phone(samples, layers, _SUPERSAMPLING)
    return cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)


def _linear(image: Pixels) -> Field:
    """sRGB levels as linear light in [0, 1] (IEC 61966-2-1)."""
    level = np.arange(256) / 255
    table = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[image]


def _vignette(shape: tuple[int, int], loss: float) -> Field:
    """Light falls as cos^4 in a lens; here as a parabola that loses `loss` in the corners."""
    height, width = shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    aspect = np.float32(width / height)
    r2 = (y**2 + (aspect * x) ** 2) / (1 + aspect**2)
    return 1 - np.float32(loss) * r2


def _tone_curves(camera: PhoneCamera) -> list[Field]:
    """Per channel, linear light (index) to 8-bit level."""
    light = np.linspace(0, 1, _LEVELS)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    curves = []
    for gamma in camera.gamma:
        toned = encoded**gamma
        toned = toned + camera.contrast * (toned * toned * (3 - 2 * toned) - toned)
        curves.append(
            (255 * (camera.black + (camera.white - camera.black) * toned)).astype(np.float32)
        )
    return curves
