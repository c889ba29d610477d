"""The moments that block shifts are computed from, and the misfit of a map fitted to them."""

import numpy as np
import pytest

from dpedkit.align.blocks import CELL, Blocks, observe
from dpedkit.align.fit import HOMOGRAPHY, Problem
from dpedkit.geometry import PairMap


def moments_by_definition(phone, warped):
    """As `Cells.means` describes them, in float64."""
    dy, dx = (
        np.apply_along_axis(np.convolve, axis, (phone + warped) / 2, [0.5, 0, -0.5], mode="same")
        for axis in (0, 1)
    )
    dx[:, [0, -1]] = 0
    dy[[0, -1]] = 0
    products = (
        *(dx * dx, dx * dy, dy * dy, dx * (phone - warped), dy * (phone - warped)),
        *(phone * phone, warped * warped, phone * warped),
    )
    rows, columns = (side // CELL for side in phone.shape)
    whole = np.s_[: rows * CELL, : columns * CELL]
    return [
        product[whole].reshape(rows, CELL, columns, CELL).mean(axis=(1, 3)) for product in products
    ]


@pytest.mark.parametrize("shape", [(128, 96), (131, 101), (64, 24), (200, 135)])
def test_moments_are_means_over_cells(shape):
    rng = np.random.default_rng(0)
    phone, warped = rng.normal(size=(2, *shape)).astype(np.float32)
    shown = np.ones([-(-side // CELL) for side in shape], bool)
    cells = observe(phone, lambda top, bottom: warped[top:bottom], shown)
    wanted = moments_by_definition(phone.astype(np.float64), warped.astype(np.float64))
    np.testing.assert_allclose(cells.means, wanted, atol=2e-6)


def test_skipped_strips_are_not_covered():
    image = np.random.default_rng(0).normal(size=(320, 96)).astype(np.float32)
    shown = np.ones((40, 12), bool)
    cells = observe(image, lambda top, bottom: image[top:bottom], shown, every=2)
    assert not cells.covered[8:16].any()
    assert not cells.means[:, 8:16].any()
    assert cells.covered[16:24, 2:-2].all()


@pytest.mark.parametrize("misfit", [0.0, 0.2, 3.0])
def test_the_misfit_is_the_error_that_noise_does_not_explain(misfit):
    rng = np.random.default_rng(1)
    count, noise = 600, 0.05
    residuals = rng.normal(scale=np.hypot(noise, misfit), size=(count, 2))
    blocks = Blocks(
        rng.uniform(0, 400, (count, 2)),
        residuals,
        np.tile(np.eye(2) / noise**2, (count, 1, 1)),
        np.ones(count),
        np.ones((count, 2)),
    )
    problem = Problem(PairMap(np.eye(3), (400, 400), (400, 400)), blocks, 1.0, HOMOGRAPHY)
    assert problem.misfit(residuals) == pytest.approx(misfit, rel=0.1, abs=noise / 2)
