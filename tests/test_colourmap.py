"""The cubic colour map: exact on polynomials, least squares otherwise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpedkit.colourmap import EXPONENTS, ColourMap, fit_colour_map, monomials
from dpedkit.core.errors import DpedkitError


def test_monomials_from_their_exponents():
    pixels = np.random.default_rng(0).random((7, 3))
    expected = np.stack([np.prod(pixels**powers, axis=1) for powers in EXPONENTS], axis=1)
    assert len(set(EXPONENTS)) == 20 and max(map(sum, EXPONENTS)) == 3
    np.testing.assert_allclose(monomials(pixels), expected, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_cubic_map_is_found_again(seed):
    rng = np.random.default_rng(seed)
    truth = ColourMap(rng.normal(size=(20, 3)))
    phone = rng.random((40, 50, 3))
    fitted = fit_colour_map(
        [(phone[:10], truth.apply(phone[:10])), (phone[10:], truth.apply(phone[10:]))]
    )
    fresh = rng.random((100, 3))
    np.testing.assert_allclose(fitted.apply(fresh), truth.apply(fresh), atol=5e-3)


def test_the_fit_is_that_of_lstsq():
    rng = np.random.default_rng(1)
    phone = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    dslr = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    fitted = fit_colour_map(zip(phone, dslr, strict=True))
    terms = monomials(phone.reshape(-1, 3) / 255)
    expected = np.linalg.lstsq(terms, dslr.reshape(-1, 3) / 255, rcond=None)[0]
    errors = [
        np.mean((terms @ c - dslr.reshape(-1, 3) / 255) ** 2)
        for c in (fitted.coefficients, expected)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-6)


def test_colours_that_never_occur_stay_tame():
    grey = np.linspace(0.2, 0.8, 500)[:, None].repeat(3, axis=1)
    fitted = fit_colour_map([(grey, grey)])
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(fitted.apply(corners), corners, atol=1e-6)


def test_identity_and_json():
    pixels = np.random.default_rng(2).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    np.testing.assert_allclose(ColourMap.identity().apply(pixels), pixels / 255, atol=1e-12)
    fitted = fit_colour_map([(pixels, pixels[::-1])])
    again = ColourMap.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert np.array_equal(again.coefficients, fitted.coefficients)


def test_no_pixels_are_refused():
    with pytest.raises(DpedkitError, match="no pixels"):
        fit_colour_map([])
