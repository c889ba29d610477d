"""The outlines of surfaces: which of two each small cell along an edge shows."""

import cv2
import numpy as np
import pytest

from dpedkit.align.detail import SIDE, Grid
from dpedkit.align.refine import Level
from dpedkit.align.validity import FINER, finer, outlines
from dpedkit.geometry import PairMap

SHAPE = (160, 240)
SMALL = SIDE // FINER  # px
STEP = 0.75  # px


def texture(seed, blur=1.0):
    noise = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return smooth / smooth.std()


def outlined(near, moved, contrast=1.0):
    """A near thing before a background; the coarse cells know it but for one column on each side.

    `near` (H, W) says which pixels of the phone photo show the thing, which the DSLR photo shows
    `moved` px further right.
    """
    back, front = texture(1), texture(2)
    shift = np.float32([[1, 0, moved], [0, 1, 0]])
    there = cv2.warpAffine(near.astype(np.uint8), shift, SHAPE[::-1]) > 0
    size = SHAPE[::-1]
    phone = contrast * np.where(near, front, back)
    dslr = contrast * np.where(there, cv2.warpAffine(front, shift, size), back)
    grid = Grid.over(Level(phone.astype(np.float32), dslr.astype(np.float32), size, size))
    share = cv2.resize(near.astype(np.float32), grid.shape[::-1], interpolation=cv2.INTER_AREA)
    labels = np.where(share > 0.5, 2, 1).astype(np.uint8)
    displacement = np.where((labels == 2)[..., None], [float(moved), 0.0], 0.0)
    border = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    rigid = PairMap(np.eye(3), size, size)
    return outlines(grid, rigid, labels, displacement, border, STEP), labels, border


def disc(radius=52.0):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot(x - 121, y - 83) < radius


def share_near(near):
    size = (SHAPE[1] // SMALL, SHAPE[0] // SMALL)
    return cv2.resize(near.astype(np.float32), size, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("moved", [2, 5, 9])
def test_small_cells_follow_the_outline_where_the_large_ones_cut_across(moved):
    near = disc()
    found, labels, border = outlined(near, moved)
    share = share_near(near)
    # What the thing hides from the DSLR is on its right: the other surface's cells there fit none.
    hidden = share_near(cv2.dilate(near.astype(np.uint8), np.ones((1, 2 * moved + 1))) > near)
    clear = found.decided & ((share == 0) & (hidden == 0) | (share == 1))
    truth = np.where(share > 0.5, 2, 1)
    assert clear.sum() > 150
    assert (found.labels == truth)[clear].mean() > 0.97
    coarse = finer(labels)
    assert (coarse != truth)[clear].sum() > 2 * (found.labels != truth)[clear].sum()
    away = ~finer(border)
    assert np.array_equal(found.labels[away], coarse[away])
    assert not found.decided[away].any()


def test_each_small_cell_takes_the_displacement_of_what_it_shows():
    found, _, _ = outlined(disc(), 5)
    shown = np.where(found.shows_other, finer(found.other.surface), finer(found.layer.surface))
    assert np.array_equal(shown, found.labels)
    moved = np.where(
        found.shows_other, *(finer(x.displacement[..., 0]) for x in (found.other, found.layer))
    )
    assert np.array_equal(moved, np.where(found.labels == 2, 5.0, 0.0))


def test_edges_are_where_a_neighbour_shows_the_other_surface():
    found, _, border = outlined(disc(), 5)
    rows, columns = np.nonzero(found.on_edge)
    assert len(rows) > 50
    padded = np.pad(found.labels, 1, mode="edge")
    for row, column in zip(rows, columns, strict=True):
        cross = (
            padded[row : row + 3, column + 1].tolist()
            + padded[row + 1, column : column + 3].tolist()
        )
        assert len(set(cross)) == 2
    assert not found.on_edge[~finer(border)].any()


def test_surfaces_that_lie_closer_than_the_step_have_no_edge():
    found, _, _ = outlined(disc(), 0)
    assert not found.on_edge.any()


def test_plain_photos_tell_nothing():
    found, labels, _ = outlined(disc(), 5, contrast=0.05)
    assert not found.decided.any()
    assert np.array_equal(found.labels, finer(labels))


def test_what_neither_surface_shows_is_not_decided():
    """A third picture along the edge, as what one camera alone sees."""
    near = disc()
    _, labels, border = outlined(near, 5)
    size = SHAPE[::-1]
    grid = Grid.over(Level(texture(7), texture(8), size, size))
    displacement = np.where((labels == 2)[..., None], [5.0, 0.0], 0.0)
    found = outlines(grid, PairMap(np.eye(3), size, size), labels, displacement, border, STEP)
    assert found.decided.mean() < 0.02
