"""Surfaces as pictures that occlude one another: what each camera sees of them.

A layer is painted in DSLR pixels and cut out by its cover. The DSLR records it as it is, the phone
through the map of its surface, so that one outline and one texture serve both photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import PairMap, Rectangle, grid_points
from dpedkit.resample import PixelMap
from dpedkit.simulate.depth import Surface
from dpedkit.simulate.textures import Field, Pixels

OCCLUDED = 255
_STRIP = 256  # rows at a time, a multiple of 8 as `PixelMap.rows` wants; bounds the memory
_SEARCH_STEP = 16  # phone px between the points by which a layer is found in the phone photo
_FIXED_POINT_BITS = 4  # of polygon corners, for OpenCV
_OPAQUE = 255


@dataclass(frozen=True)
class Layer:
    """What one surface shows.

    Attributes
    ----------
    surface : Surface
        One with an outline.
    picture : (h, w, 3) array of uint8
    cover : (h, w) array of uint8
        255 within the outline, 0 outside, between them on the edge.
    corner : tuple of int
        DSLR pixel that is the picture's pixel (0, 0).
    """

    surface: Surface
    picture: Pixels
    cover: NDArray[np.uint8]
    corner: tuple[int, int]


def cut_layers(
    surfaces: Sequence[Surface],
    scene: Pixels,
    origin: tuple[int, int],
    texture: Callable[[int, tuple[int, int]], Pixels],
) -> tuple[Layer, ...]:
    """Give each surface but the farthest its picture and its cover.

    Parameters
    ----------
    surfaces : sequence of Surface
        Farthest first. One that is joined to the farthest continues its picture.
    scene : (H, W, 3) array of uint8
        Picture of the farthest surface.
    origin : tuple of int
        Scene pixel that is the DSLR photo's pixel (0, 0).
    texture : callable
        Gives the picture, `(height, width, 3) uint8`, of thing number n (from 0) from n and
        `(width, height)`.
    """
    layers = []
    things = 0
    for surface in surfaces[1:]:
        assert surface.outline is not None, "only the farthest surface is everywhere"
        if surface.joined:
            corner = (-origin[0], -origin[1])
            picture = scene
        else:
            low = np.floor(surface.outline.min(axis=0)).astype(int) - 2
            width, height = np.ceil(surface.outline.max(axis=0)).astype(int) + 3 - low
            corner = (int(low[0]), int(low[1]))
            picture = texture(things, (int(width), int(height)))
            things += 1
        cover = np.zeros(picture.shape[:2], np.uint8)
        polygon = np.round((surface.outline - corner) * 2**_FIXED_POINT_BITS).astype(np.int32)
        cv2.fillPoly(cover, [polygon], [_OPAQUE], cv2.LINE_AA, _FIXED_POINT_BITS)
        layers.append(Layer(surface, picture, cover, corner))
    return tuple(layers)


def lay_over_phone(samples: Pixels, layers: Sequence[Layer], per_pixel: int) -> None:
    """Lay the layers over the phone's view of the farthest surface, in place.

    Parameters
    ----------
    samples : (H * per_pixel, W * per_pixel, 3) array of uint8
        The phone photo's pixels, each `per_pixel` x `per_pixel` samples.
    layers : sequence of Layer
    per_pixel : int
    """
    for layer in layers:
        for (x, y, width, height), grid in _phone_strips(layer, per_pixel):
            region = samples[
                y * per_pixel : (y + height) * per_pixel, x * per_pixel : (x + width) * per_pixel
            ]
            picture = cv2.remap(
                layer.picture, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
            _blend(region, picture, cv2.remap(layer.cover, grid, None, cv2.INTER_LINEAR))


def lay_over_dslr(photo: Pixels, layers: Sequence[Layer]) -> None:
    """Lay the layers over the DSLR photo `(H, W, 3) uint8` of the farthest surface, in place."""
    for layer in layers:
        place, window = _dslr_windows(layer, photo.shape[:2])
        _blend(photo[place], layer.picture[window], layer.cover[window])


def label_phone(far: PairMap, layers: Sequence[Layer], blur: float) -> NDArray[np.uint8]:
    """Which surface each phone pixel shows, where the DSLR photo shows the same point.

    Parameters
    ----------
    far : PairMap
        Map of the farthest surface.
    layers : sequence of Layer
        Layer n shows surface n + 1.
    blur : float
        Sigma of the phone's blur in px: so much wider do edges mix two surfaces.

    Returns
    -------
    (H, W) array of uint8
        The surface's number, 0 for the farthest; `OCCLUDED` where the DSLR photo does not show the
        point, and on the edges of things.
    """
    width, height = far.phone_size
    labels = np.zeros((height, width), np.uint8)
    edges = np.zeros((height, width), np.uint8)
    for number, layer in enumerate(layers, start=1):
        for (x, y, wide, high), grid in _phone_strips(layer, 1):
            place = (slice(y, y + high), slice(x, x + wide))
            cover = cv2.remap(layer.cover, grid, None, cv2.INTER_LINEAR)
            if layer.surface.joined:
                labels[place][cover > _OPAQUE // 2] = number
                continue
            labels[place][cover > 0] = number
            edges[place][cover == _OPAQUE] = 0
            edges[place][(cover > 0) & (cover < _OPAQUE)] = 1
    # Surfaces that join each other mix without harm.
    steps = np.array(_solid_numbers(layers), np.uint8)[labels]
    reach = np.ones((3, 3), np.uint8)
    edges |= cv2.dilate(steps, reach) != cv2.erode(steps, reach)
    wider = round(1.5 * blur) - 1
    if wider > 0:
        edges = cv2.dilate(edges, np.ones((2 * wider + 1, 2 * wider + 1), np.uint8))

    hidden = edges.astype(bool)
    shown = _nearest_in_dslr(far.dslr_size, layers)
    limit = np.array(far.dslr_size, np.float32) - 1
    for number, surface_map in enumerate([far, *(layer.surface.map for layer in layers)]):
        source = PixelMap(surface_map, (0, 0), (width, height))
        for top in range(0, height, _STRIP):
            strip = slice(top, min(top + _STRIP, height))
            here = labels[strip] == number
            if not here.any():
                continue
            points = source.rows(strip.start, strip.stop)
            nearest = cv2.remap(shown, points, None, cv2.INTER_NEAREST)
            outside = ((points < 0) | (points > limit)).any(axis=2)
            hidden[strip] |= here & (outside | (nearest > number))
    labels[hidden] = OCCLUDED
    return labels


def _nearest_in_dslr(size: tuple[int, int], layers: Sequence[Layer]) -> NDArray[np.uint8]:
    """The number of the nearest thing at or next to each pixel of the DSLR photo; 0 for none."""
    shown = np.zeros(size[::-1], np.uint8)
    for number, layer in enumerate(layers, start=1):
        if not layer.surface.joined:
            place, window = _dslr_windows(layer, shown.shape)
            shown[place][layer.cover[window] > 0] = number
    return np.asarray(cv2.dilate(shown, np.ones((3, 3), np.uint8)), np.uint8)


def _solid_numbers(layers: Sequence[Layer]) -> list[int]:
    """For each surface the number of the one that it is a continuation of, or its own."""
    numbers = [0]
    for number, layer in enumerate(layers, start=1):
        numbers.append(numbers[-1] if layer.surface.joined else number)
    return numbers


def _phone_strips(layer: Layer, per_pixel: int) -> Iterator[tuple[Rectangle, NDArray[np.float32]]]:
    """Rectangles of the phone photo where the layer may be, each with its points in the picture."""
    x, y, width, height = _phone_window(layer)
    if width <= 0 or height <= 0:
        return
    source = PixelMap(layer.surface.map, (x, y), (width, height), per_pixel)
    for top in range(0, height, _STRIP):
        rows = min(_STRIP, height - top)
        grid = source.rows(top, top + rows) - np.array(layer.corner, np.float32)
        yield (x, y + top, width, rows), grid


def _phone_window(layer: Layer) -> Rectangle:
    """The part of the phone photo that shows all of the layer that the phone can see."""
    size = layer.surface.map.phone_size
    xs, ys = (np.arange(-_SEARCH_STEP, side + 2 * _SEARCH_STEP, _SEARCH_STEP) for side in size)
    points = layer.surface.map(grid_points(xs, ys)).reshape(len(ys), len(xs), 2)
    low = np.array(layer.corner)
    high = low + layer.cover.shape[::-1]
    # A cell of the grid may show some of the layer if its corners are not all to one side of it.
    corners = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, :-1], points[1:, 1:]])
    touched = ((corners.max(axis=0) >= low) & (corners.min(axis=0) <= high)).all(axis=2)
    rows, columns = np.nonzero(touched.any(axis=1))[0], np.nonzero(touched.any(axis=0))[0]
    if len(rows) == 0:
        return (0, 0, 0, 0)
    left, top = max(0, xs[columns[0]]), max(0, ys[rows[0]])
    right, bottom = min(size[0], xs[columns[-1] + 1] + 1), min(size[1], ys[rows[-1] + 1] + 1)
    return (int(left), int(top), int(right - left), int(bottom - top))


def _dslr_windows(
    layer: Layer, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the layer lies in a DSLR photo of `(height, width)`, and that part of its picture."""
    place, window = [], []
    for start, length, end in zip(layer.corner[::-1], layer.cover.shape, shape, strict=False):
        first, last = max(0, start), max(0, min(end, start + length))
        first = min(first, last)
        place.append(slice(first, last))
        window.append(slice(first - start, last - start))
    return (place[0], place[1]), (window[0], window[1])


def _blend(region: Pixels, picture: Pixels, cover: NDArray[np.uint8]) -> None:
    if region.size == 0 or not cover.any():
        return
    weight: Field = cover.astype(np.float32) / _OPAQUE
    region[:] = cv2.blendLinear(
        np.ascontiguousarray(picture), np.ascontiguousarray(region), weight, 1 - weight
    )
