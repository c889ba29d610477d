"""Random surfaces that scenes are painted with: 1/f noise, and ways to lay one layer on another.

Scenes are `(H, W, 3) uint8` arrays. A `Colour` is sRGB, 0 to 255 a channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Field = NDArray[np.floating]
Colour = Sequence[float] | NDArray[np.floating]


def fractal(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    coarsest: float = 0.5,
    finest: int = 1,
    falloff: float = 0.5,
    stretch: float = 1.0,
) -> Field:
    """A 1/f field with mean 0 and standard deviation 1.

    Parameters
    ----------
    height, width : int
        Shape of the result.
    coarsest : float
        Size of the largest structure as a part of the larger side.
    finest : int
        Size of the smallest structure in pixels.
    falloff : float
        Amplitude of an octave as a part of that of the octave twice as coarse.
    stretch : float
        How many times wider than high the structures are.

    Returns
    -------
    (height, width) array of float32
    """
    high = max(2, round(height * stretch / finest))
    wide = max(2, round(width / finest))
    octaves = max(1, int(np.log2(max(2.0, coarsest * max(high, wide)))))
    field = np.zeros((2, 2), np.float32)
    amplitude = 1.0
    for octave in reversed(range(octaves)):
        shape = (max(2, high >> octave), max(2, wide >> octave))
        grown = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)
        field = grown + amplitude * rng.standard_normal(shape, dtype=np.float32)
        amplitude *= falloff
    if field.shape != (height, width):
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    mean, deviation = cv2.meanStdDev(field)
    return (field - np.float32(mean[0, 0])) * np.float32(1 / max(deviation[0, 0], 1e-6))


def ridge_line(rng: np.random.Generator, width: int, falloff: float, coarsest: float) -> Field:
    """A 1/f profile of `width` samples, mean 0 and standard deviation 1: a skyline of hills."""
    return fractal(rng, 2, width, coarsest=coarsest, falloff=falloff)[0]


def smoothstep(value: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def vertical_gradient(height: int, stops: Sequence[tuple[float, Colour]]) -> Field:
    """Colours interpolated between `(position 0..1, colour)` stops; (height, 3) float32."""
    positions = [position for position, _ in stops]
    rows = np.linspace(0, 1, height)
    channels = [
        np.interp(rows, positions, [colour[channel] for _, colour in stops]) for channel in range(3)
    ]
    return np.stack(channels, axis=1).astype(np.float32)


def palette_map(values: Field, colours: Sequence[Colour], low: float, high: float) -> Pixels:
    """Colour a field by a ramp of colours from `low` to `high`."""
    ramp = np.array(colours, np.float32)[:, None, :]
    table = cv2.resize(ramp, (1, 256), interpolation=cv2.INTER_LINEAR).reshape(256, 1, 3)
    level = np.clip((values - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    lookup = np.clip(table, 0, 255).astype(np.uint8)
    return cv2.merge([cv2.LUT(level, lookup[:, 0, channel]) for channel in range(3)])


def shade(region: Pixels, factor: Field) -> None:
    """Multiply a region of the scene by a field of its shape, in place."""
    region[:] = cv2.multiply(
        region, cv2.merge([np.ascontiguousarray(factor, np.float32)] * 3), dtype=cv2.CV_8U
    )


def lay(region: Pixels, layer: Pixels | Colour, cover: Field) -> None:
    """Blend a layer, or one colour, over a region of the scene where `cover` is above 0, in place.

    Parameters
    ----------
    region : (H, W, 3) array of uint8
        A view of the scene.
    layer : (H, W, 3) array of uint8, or a colour
    cover : (H, W) array of float32
        0 leaves the region as it is, 1 replaces it.
    """
    if not isinstance(layer, np.ndarray) or layer.ndim == 1:
        layer = np.full(region.shape, np.asarray(layer, np.uint8), np.uint8)
    weight = np.ascontiguousarray(cover, np.float32)
    region[:] = cv2.blendLinear(
        np.ascontiguousarray(layer), np.ascontiguousarray(region), weight, 1 - weight
    )


def paste_warped(
    scene: Pixels, texture: Pixels, corners: NDArray[np.float64], brightness: float = 1.0
) -> None:
    """Lay a flat texture into the scene so that its corners come to lie on `corners`, in place.

    Parameters
    ----------
    scene : (H, W, 3) array of uint8
    texture : (h, w, 3) array of uint8
        Best about as large as the place it goes to.
    corners : (4, 2) array
        Scene positions of the texture's top left, top right, bottom right, bottom left corner.
    brightness : float
        Factor on the texture.
    """
    left, top = np.floor(corners.min(axis=0)).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(scene.shape[1], right), min(scene.shape[0], bottom)
    if x0 >= x1 or y0 >= y1:
        return
    h, w = texture.shape[:2]
    source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32) - 0.5
    target = (corners - [x0, y0]).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    size = (x1 - x0, y1 - y0)
    image = cv2.warpPerspective(
        texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if brightness != 1:
        image = cv2.convertScaleAbs(image, alpha=brightness)
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillConvexPoly(mask, np.round(target * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    lay(scene[y0:y1, x0:x1], image, mask.astype(np.float32) / 255)


def polygons(scene: Pixels, outlines: NDArray[np.floating], colours: NDArray[np.floating]) -> None:
    """Draw many filled convex polygons, in order, with smooth edges.

    Parameters
    ----------
    scene : (H, W, 3) array of uint8
    outlines : (N, K, 2) array
        Corners in pixels.
    colours : (N, 3) array
    """
    corners = np.round(outlines * 16).astype(np.int32)
    fills = np.clip(colours, 0, 255).tolist()
    for corner, fill in zip(corners, fills, strict=True):
        cv2.fillConvexPoly(scene, corner, fill, cv2.LINE_AA, 4)
