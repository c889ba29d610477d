"""The pair's map: its inverse, its file form, its parts against formulas written out by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from dpedkit.geometry import (
    PairMap,
    apply_homography,
    grid_points,
    resize_matrix,
    resize_points,
    spline_basis,
)

PHONE, DSLR = (800, 600), (1200, 900)
small = st.floats(-1, 1)


def make_map(h=0.0, k=(0.0, 0.0, 0.0), field=None):
    scale = np.array([0.2, 0.1, 60, 0.1, 0.2, 60, 1e-4, 1e-4])
    homography = np.append(np.array([1.4, 0, 20, 0, 1.4, 30, 0, 0]) + scale * h, 1).reshape(3, 3)
    return PairMap(homography, PHONE, DSLR, k, field)


@settings(max_examples=50, deadline=None)
@given(st.lists(small, min_size=8, max_size=8), st.lists(small, min_size=3, max_size=3), small)
def test_inverse_undoes_the_map(h, k, bend):
    field = bend * 5 * np.sin(np.arange(11 * 13 * 2)).reshape(11, 13, 2)
    pair_map = make_map(np.array(h), tuple(np.array(k) * [0.05, 0.02, 0.01]), field)
    points = grid_points(np.linspace(0, 799, 9), np.linspace(0, 599, 7))
    assert np.abs(pair_map.inverse(pair_map(points)) - points).max() < 1e-6


def test_lens_distortion_is_the_polynomial_about_the_centre():
    pair_map = PairMap(np.eye(3), PHONE, PHONE, (0.03, 0.01, -0.02))
    corner = np.array([[799.0, 599.0]])
    offset = corner - [399.5, 299.5]
    r2 = (offset**2).sum() / 500**2  # half the diagonal of 800 x 600 is 500
    expected = corner + offset * (0.03 * r2 + 0.01 * r2**2 - 0.02 * r2**3)
    assert pair_map(corner) == pytest.approx(expected, abs=1e-9)


def test_field_is_the_uniform_cubic_b_spline_of_scipy():
    coefficients = np.random.default_rng(0).standard_normal((9, 11))
    points = np.random.default_rng(1).uniform([0, 0], [799, 599], (50, 2))
    taps, weights = spline_basis(points, PHONE, (9, 11))
    ours = (coefficients.ravel()[taps] * weights).sum(axis=1)
    for point, value in zip(points, ours, strict=True):
        u, v = (point + 0.5) / PHONE * [8, 6]
        rows = [BSpline(np.arange(-3, 12), row, 3)(u) for row in coefficients]
        assert value == pytest.approx(float(BSpline(np.arange(-3, 10), rows, 3)(v)), abs=1e-9)


def test_a_map_adds_the_field_that_the_basis_describes():
    field = np.random.default_rng(3).normal(size=(9, 11, 2))
    points = np.random.default_rng(4).uniform([-300, -300], [1100, 900], (500, 2))
    corners = np.array([[-0.5, -0.5], [799.5, 599.5], [-0.5, 599.5], [399.5, 299.5]])
    points = np.concatenate([points, corners])  # some beyond the photo, some on its very edge
    taps, weights = spline_basis(points, PHONE, (9, 11))
    expected = (weights[..., None] * field.reshape(-1, 2)[taps]).sum(axis=1)
    assert make_map(field=field).displacement(points) == pytest.approx(expected, abs=1e-12)


def test_a_map_survives_json_bit_for_bit():
    rng = np.random.default_rng(2)
    pair_map = make_map(rng.uniform(-1, 1, 8), (0.01, 0.002, 0.0), rng.normal(size=(11, 13, 2)))
    read = PairMap.from_dict(json.loads(json.dumps(pair_map.to_dict())))
    points = grid_points(np.arange(0.0, 800, 91), np.arange(0.0, 600, 83))
    assert np.array_equal(read(points), pair_map(points))
    assert read.phone_size == PHONE and read.dslr_size == DSLR


def test_resizing_points_keeps_the_photo_s_edges():
    edges = np.array([[-0.5, -0.5], [799.5, 599.5]])
    assert resize_points(edges, PHONE, (400, 200)) == pytest.approx(
        np.array([[-0.5, -0.5], [399.5, 199.5]])
    )
    inner = np.array([[3.0, 4.0], [500.25, 77.5]])
    by_matrix = apply_homography(resize_matrix(PHONE, (333, 250)), inner)
    assert by_matrix == pytest.approx(resize_points(inner, PHONE, (333, 250)))


def test_scale_is_the_root_of_the_area_ratio():
    stretched = PairMap(np.diag([2.0, 8.0, 1.0]), PHONE, DSLR)
    assert stretched.scale_at(np.array([100.0, 100.0])) == pytest.approx(4.0)
