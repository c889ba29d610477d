"""The largest axis-aligned rectangle of the phone photo that the DSLR photo covers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpedkit.geometry import PairMap, Points, Rectangle, grid_points

_NODES = 64  # along the longer side; the edges found there are then moved pixel by pixel
_EDGE = 2  # px of the DSLR photo kept free, so that resampling never reaches beyond its edge


def overlap_share(pair_map: PairMap) -> float:
    """Share of the phone photo that the DSLR photo covers."""
    xs, ys = _nodes(pair_map.phone_size)
    return float(_covered(pair_map, grid_points(xs, ys)).mean())


def largest_crop(pair_map: PairMap) -> Rectangle:
    """The largest rectangle of whole phone pixels inside the overlap; empty where there is none."""
    xs, ys = _nodes(pair_map.phone_size)
    covered = _covered(pair_map, grid_points(xs, ys)).reshape(len(ys), len(xs))
    top, left, bottom, right = largest_rectangle(covered)
    if bottom <= top or right <= left:
        return 0, 0, 0, 0
    edges = [int(xs[left]), int(ys[top]), int(xs[right - 1]), int(ys[bottom - 1])]
    return _grown(pair_map, edges)


def largest_rectangle(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The largest all-True rectangle of a mask, as `(top, left, bottom, right)`, end exclusive."""
    heights = np.zeros(mask.shape[1], int)
    best_area, best = 0, (0, 0, 0, 0)
    for row in range(mask.shape[0]):
        heights = np.where(mask[row], heights + 1, 0)
        stack: list[tuple[int, int]] = []  # (first column, height), heights growing
        for column, height in enumerate([*heights.tolist(), 0]):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                area = tall * (column - start)
                if area > best_area:
                    best_area, best = area, (row - tall + 1, start, row + 1, column)
            stack.append((start, height))
    return best


def _grown(pair_map: PairMap, edges: list[int]) -> Rectangle:
    """Move each edge of an inclusive rectangle outwards while the DSLR photo covers it."""
    limits = [0, 0, pair_map.phone_size[0] - 1, pair_map.phone_size[1] - 1]
    moving = [0, 1, 2, 3]
    step = max(1, max(pair_map.phone_size) // _NODES)
    while step:
        for edge in moving:
            while True:
                moved = edges[edge] + (-step if edge < 2 else step)
                within = moved >= 0 if edge < 2 else moved <= limits[edge]
                # Only what is new needs a look: the rectangle that the edge sweeps.
                swept = list(edges)
                swept[edge - 2], swept[edge] = edges[edge], moved
                if not within or not _covered(pair_map, _outline(swept)).all():
                    break
                edges[edge] = moved
        step //= 2
    left, top, right, bottom = edges
    return left, top, right - left + 1, bottom - top + 1


def _outline(edges: list[int]) -> Points:
    left, top, right, bottom = edges
    xs = np.append(np.arange(left, right, 4), right).astype(float)
    ys = np.append(np.arange(top, bottom, 4), bottom).astype(float)
    horizontal = grid_points(xs, np.array([top, bottom], float))
    vertical = grid_points(np.array([left, right], float), ys)
    return np.concatenate([horizontal, vertical])


def _nodes(size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    step = max(1, max(size) // _NODES)
    return np.arange(0, size[0], step, dtype=float), np.arange(0, size[1], step, dtype=float)


def _covered(pair_map: PairMap, points: Points) -> NDArray[np.bool_]:
    mapped = pair_map(points)
    last = np.array(pair_map.dslr_size) - 1 - _EDGE
    return np.all((mapped >= _EDGE) & (mapped <= last), axis=1)
