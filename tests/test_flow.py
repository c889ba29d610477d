"""The optical flow of cells: where it is, how large, and where there is none."""

import cv2
import numpy as np
import pytest

from dpedkit.align.detail import SIDE, Grid
from dpedkit.align.flow import cell_flow
from dpedkit.align.refine import levels
from dpedkit.geometry import PairMap


def textured(shape, seed=0):
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    coarse = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip(128 + 60 * coarse / coarse.std(), 0, 255).astype(np.uint8)


def flow_between(phone, dslr):
    sizes = phone.shape[::-1], dslr.shape[::-1]
    same = PairMap(np.eye(3), *sizes)
    grid = Grid.over(levels(phone, dslr, same, 1.5)[-1])
    return grid, cell_flow(grid, same)


@pytest.mark.parametrize("shape", [(240, 320), (243, 317), (250, 331)])
def test_each_surface_has_its_own_displacement(shape):
    phone = textured(shape)
    dslr = np.roll(phone, (-3, 5), (0, 1))
    right = shape[1] // 2
    dslr[:, right:] = np.roll(phone, (2, -6), (0, 1))[:, right:]
    grid, flow = flow_between(phone, dslr)
    inner = (flow.valid & (grid.centres > 24).all(axis=2)) & (
        grid.centres < np.array(shape[::-1]) - 24
    ).all(axis=2)
    for expected, side in (
        ((5, -3), grid.centres[..., 0] < right - 24),
        ((-6, 2), grid.centres[..., 0] > right + 24),
    ):
        assert (inner & side).sum() > 0.9 * 5 * (shape[0] // SIDE - 3)
        errors = np.linalg.norm(flow.displacement - expected, axis=2)[inner & side]
        assert np.median(errors) < 0.3
        assert (errors < 1).mean() > 0.95


def test_there_is_no_flow_where_the_photos_show_different_things():
    phone, dslr = textured((240, 320)), textured((240, 320))
    dslr[64:192, 96:224] = textured((128, 128), seed=1)
    _, flow = flow_between(phone, dslr)
    # Of unrelated textures, some cells agree by chance; two cells along the border are left out.
    assert flow.valid[5:11, 7:13].mean() < 0.6
    assert flow.valid[:, :5].mean() > 0.8


@pytest.mark.parametrize("shape", [(32, 32), (40, 90)])
def test_tiny_photos_have_no_flow(shape):
    grid, flow = flow_between(textured(shape), textured(shape))
    assert flow.displacement.shape == (*grid.shape, 2)
    assert not flow.valid.any()
