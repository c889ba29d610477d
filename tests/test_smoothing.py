"""Smoothing noisy displacements: better than the noise, honest about how much, never invented."""

import numpy as np
import pytest

from dpedkit.align import smoothing
from dpedkit.align.smoothing import chi2, smooth, smooth_at, with_model_error

ROWS, COLUMNS = 20, 26
ALL = np.ones((ROWS, COLUMNS), bool)
NOISE = 0.3  # px


def plane(start, along_x, along_y):
    y, x = np.mgrid[:ROWS, :COLUMNS][..., None].astype(float)
    return np.array(start) + x * np.array(along_x) + y * np.array(along_y)


LINEAR = plane([0.8, -1.0], [0.05, 0.01], [-0.02, 0.03])


def equally_known(deviation):
    return np.tile([deviation**-2, 0.0, deviation**-2], (ROWS, COLUMNS, 1))


def noisy(truth, seed, deviation=NOISE):
    return truth + np.random.default_rng(seed).normal(0, deviation, truth.shape)


def rms(error):
    return float(np.sqrt(np.square(error).mean()))


@pytest.mark.parametrize("may_be_none", [False, True])
def test_a_linear_displacement_comes_back_far_better_than_it_was_measured(may_be_none):
    for seed in range(5):
        found = smooth(noisy(LINEAR, seed), equally_known(NOISE), ALL, may_be_none)
        assert found.width > 0
        assert rms(found.displacement - LINEAR) < NOISE / 4
        assert abs((found.displacement - LINEAR).mean()) < NOISE / 10


def test_without_noise_a_linear_displacement_is_kept_to_the_corners():
    found = smooth(LINEAR, equally_known(0.1), ALL, may_be_none=False)
    assert np.abs(found.displacement - LINEAR).max() < 0.01


def test_pure_noise_is_no_displacement():
    none = 0
    for seed in range(20):
        nothing = np.zeros((ROWS, COLUMNS, 2))
        found = smooth(noisy(nothing, seed), equally_known(NOISE), ALL, may_be_none=True)
        none += found.width == 0
        if found.width == 0:
            assert not found.displacement.any()
            assert not found.error.any()
    assert none >= 19


def test_noise_is_smoothed_where_none_is_not_allowed():
    found = smooth(noisy(np.zeros((ROWS, COLUMNS, 2)), 0), equally_known(NOISE), ALL, False)
    assert found.width > 0
    assert 0 < rms(found.displacement) < NOISE / 4


def test_a_bent_displacement_is_smoothed_less_widely_than_a_straight_one():
    y, x = np.mgrid[:ROWS, :COLUMNS]
    bent = np.stack([2 * np.sin(x / 2.5), 2 * np.cos(y / 2.5)], axis=-1)
    found = smooth(noisy(bent, 1), equally_known(NOISE), ALL, may_be_none=True)
    straight = smooth(noisy(LINEAR, 1), equally_known(NOISE), ALL, may_be_none=True)
    assert found.width < straight.width
    assert rms(found.displacement - bent) < NOISE


def edges_alone(seed):
    """Every cell shows one edge, upright or level in turn, and nothing is known along it."""
    row, column = np.mgrid[:ROWS, :COLUMNS]
    upright = (row + column) % 2 == 0
    information = np.zeros((ROWS, COLUMNS, 3))
    information[..., 0] = upright / NOISE**2
    information[..., 2] = ~upright / NOISE**2
    measured = noisy(LINEAR, seed)
    along = np.random.default_rng(seed + 100).normal(0, 50, (ROWS, COLUMNS))
    measured[..., 0] = np.where(upright, measured[..., 0], along)
    measured[..., 1] = np.where(upright, along, measured[..., 1])
    return measured, information


@pytest.mark.parametrize("seed", range(4))
def test_edges_that_know_one_direction_each_give_both_together(seed):
    measured, information = edges_alone(seed)
    found = smooth(measured, information, ALL, may_be_none=False)
    assert rms(found.displacement - LINEAR) < NOISE / 4
    assert np.abs(found.displacement - LINEAR).max() < 1.0


def test_slanting_edges_of_two_kinds_give_both_directions():
    row, column = np.mgrid[:ROWS, :COLUMNS]
    angle = np.deg2rad(np.array([20.0, 75.0])[(row + column) % 2])
    normal = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    across = (noisy(LINEAR, 3) * normal).sum(axis=2, keepdims=True)
    tangent = np.stack([-normal[..., 1], normal[..., 0]], axis=-1)
    wild = np.random.default_rng(4).normal(0, 50, (ROWS, COLUMNS, 1))
    products = [
        normal[..., 0] ** 2,
        normal[..., 0] * normal[..., 1],
        normal[..., 1] ** 2,
    ]
    information = np.stack(products, axis=-1) / NOISE**2
    found = smooth(across * normal + wild * tangent, information, ALL, may_be_none=False)
    assert rms(found.displacement - LINEAR) < NOISE / 4


def test_edges_of_one_direction_leave_the_other_uncertain():
    information = np.tile([NOISE**-2, 0.0, 0.0], (ROWS, COLUMNS, 1))
    found = smooth(noisy(LINEAR, 0), information, ALL, may_be_none=False)
    assert found.error.min() > 100
    assert rms((found.displacement - LINEAR)[..., 0]) < NOISE / 4


@pytest.mark.parametrize("deviation", [0.05, 0.3])
def test_the_stated_error_is_the_true_one_within_a_factor_of_two(deviation):
    square, stated = np.zeros((ROWS, COLUMNS, 2)), []
    for seed in range(40):
        found = smooth(noisy(LINEAR, seed, deviation), equally_known(deviation), ALL, False)
        square += (found.displacement - LINEAR) ** 2 / 40
        stated.append(found.error)
    true = np.sqrt(square.max(axis=2))  # of the worse axis
    ratio = true / np.mean(stated, axis=0)
    assert 0.6 < np.median(ratio) < 1.5
    assert ((ratio > 0.4) & (ratio < 2.5)).mean() > 0.95


def test_wrong_cells_among_right_ones_pull_little():
    measured = noisy(LINEAR, 7)
    wrong = np.random.default_rng(8).random((ROWS, COLUMNS)) < 0.15
    measured[wrong] += [9.0, -7.0]
    found = smooth(measured, equally_known(NOISE), ALL, may_be_none=False)
    # Believed like the others they would pull by 1.7 px.
    assert rms((found.displacement - LINEAR)[~wrong]) < 0.3


def test_only_the_cells_of_the_surface_have_a_say():
    member = np.zeros((ROWS, COLUMNS), bool)
    member[4:12, 5:14] = True
    measured = noisy(LINEAR, 9)
    found = smooth(measured, equally_known(NOISE), member, may_be_none=False)
    others = smooth(
        np.where(member[..., None], measured, 1e3), equally_known(NOISE), member, may_be_none=False
    )
    assert np.array_equal(found.displacement, others.displacement)
    near = np.zeros((ROWS, COLUMNS), bool)
    near[found.box] = found.near
    expected = np.zeros((ROWS, COLUMNS), bool)
    expected[1:15, 2:17] = True  # three cells further on each side
    assert np.array_equal(near, expected)
    assert rms((found.displacement - LINEAR[found.box])[found.near]) < NOISE


def test_a_model_error_is_added_to_the_covariance():
    rng = np.random.default_rng(0)
    root = rng.normal(0, 1, (6, 5, 2, 2))
    covariance = root @ np.swapaxes(root, 2, 3) + 0.5 * np.eye(2)
    inverse = np.linalg.inv(covariance)
    widened = with_model_error(inverse.reshape(6, 5, 4)[..., [0, 1, 3]], 0.7)
    expected = np.linalg.inv(covariance + 0.49 * np.eye(2)).reshape(6, 5, 4)[..., [0, 1, 3]]
    assert np.allclose(widened, expected, rtol=0.02, atol=0.01)
    residuals = rng.normal(0, 1, (6, 5, 2))
    squared = np.einsum("rci,rcij,rcj->rc", residuals, inverse, residuals)
    found = chi2(residuals, inverse.reshape(6, 5, 4)[..., [0, 1, 3]])
    assert np.allclose(found, squared)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_sums_over_members_and_over_the_box_are_the_same(share, monkeypatch):
    rng = np.random.default_rng(9)
    member = rng.random((ROWS, COLUMNS)) < share
    information = equally_known(NOISE) * rng.uniform(0.5, 2, (ROWS, COLUMNS, 1))
    both = []
    for most in (np.inf, 0):
        monkeypatch.setattr(smoothing, "_SPARSE", most)
        both.append(smooth(noisy(LINEAR, 10), information, member, may_be_none=False))
    assert both[0].width == both[1].width
    assert both[0].displacement == pytest.approx(both[1].displacement, abs=1e-9)
    assert both[0].error == pytest.approx(both[1].error, rel=1e-9)


@pytest.mark.parametrize("most", [np.inf, 0])
def test_the_planes_solve_the_weighted_equations_of_the_cells_around(most, monkeypatch):
    monkeypatch.setattr(smoothing, "_SPARSE", most)
    width, (y, x) = 1.8, np.mgrid[:ROWS, :COLUMNS]
    measured = noisy(LINEAR, 11)
    found = smooth_at(measured, equally_known(1.0), ALL, width).reshape(ROWS, COLUMNS, 2)
    for row, column in ((0, 0), (9, 3), (19, 25), (10, 13)):
        right, down = (x - column).ravel(), (y - row).ravel()
        weight = np.exp(-(right**2 + down**2) / (2 * width**2))
        weight[np.maximum(abs(right), abs(down)) > 5] = 0  # 2.5 sigmas
        basis = np.stack([np.ones_like(right), right, down], axis=1)
        matrix = basis.T @ (weight[:, None] * basis) + np.diag([1e-6, 1.5**-2, 1.5**-2])
        expected = np.linalg.solve(matrix, basis.T @ (weight[:, None] * measured.reshape(-1, 2)))
        assert found[row, column] == pytest.approx(expected[0], abs=1e-9)
