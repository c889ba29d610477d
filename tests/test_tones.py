"""The curves that give the DSLR photo the phone's tones, against photos made with known curves."""

import numpy as np
import pytest

from dpedkit.align.tones import TONES, tone_curves
from dpedkit.geometry import PairMap

CROP = (40, 20, 240, 160)
LEVELS = np.linspace(0, 255, TONES)


def curve(levels, gamma, gain):
    return 255 * gain * (levels / 255) ** gamma


@pytest.fixture
def photos():
    """A DSLR photo with all levels everywhere, and what a phone of half its size makes of it."""
    dslr = np.random.default_rng(0).integers(0, 256, (400, 600, 3)).astype(np.uint8)
    here = dslr[1::2, 1::2].astype(float)
    made = [curve(here[..., n], *tones) for n, tones in enumerate(((0.6, 1), (1, 0.8), (1.4, 1)))]
    return np.rint(np.stack(made, axis=2)).astype(np.uint8), dslr


def test_the_curves_are_those_by_which_the_phone_differs(photos):
    phone, dslr = photos
    half = PairMap(np.array([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]]), (300, 200), (600, 400))
    found = np.array(tone_curves(phone, dslr, half, CROP))
    expected = [curve(LEVELS, 0.6, 1), curve(LEVELS, 1, 0.8), curve(LEVELS, 1.4, 1)]
    assert np.abs(found - expected).max() < 6
    assert (np.diff(found, axis=1) >= 0).all()


def test_only_the_crop_counts(photos):
    phone, dslr = photos
    half = PairMap(np.array([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]]), (300, 200), (600, 400))
    before = tone_curves(phone, dslr, half, CROP)
    x, y, width, height = CROP
    outside = np.ones(phone.shape[:2], bool)
    outside[y : y + height, x : x + width] = False
    phone[outside] = 0
    assert tone_curves(phone, dslr, half, CROP) == before


def test_photos_of_one_level_have_curves_too():
    plain = PairMap(np.eye(3), (300, 200), (300, 200))
    phone, dslr = np.full((200, 300, 3), 200, np.uint8), np.full((200, 300, 3), 90, np.uint8)
    assert set(np.ravel(tone_curves(phone, dslr, plain, CROP)).tolist()) == {200}
