"""Windows judged by their parts: what is out of place in a corner, and what nothing vouches for."""

import functools

import numpy as np
import pytest
from test_matching import photograph, rgb, scene

from dpedkit.patches import PatchConfig, match_windows
from dpedkit.patches.matching import DEPTH, KEPT, PARTS, UNKNOWN
from dpedkit.patches.parts import compare_parts
from dpedkit.patches.registration import Planes
from dpedkit.surfaces import EDGE, HOLDS, MISSING
from dpedkit.surfaces import UNKNOWN as NOT_KNOWN

NOISE = 2.0  # grey levels
WINDOW = np.s_[20:120, 20:120]  # of photos of 140 px
CORNER = np.s_[20:60, 20:60]  # of the photo: the first 40 px of the window


def noisy(photo, seed):
    noise = np.random.default_rng(seed).normal(0, NOISE, photo.shape)
    return (photo + noise).astype(np.float32)


def compared(first, second, limit=1.0):
    a, b = (Planes.of(photo).full[WINDOW] for photo in (first, second))
    return compare_parts(a, b, limit)


def pair_with_corner(seed, shift=(0.0, 0.0), corner_of=None):
    """Two noisy photos; the second one's corner is shifted, or shows another scene."""
    picture = scene(seed, 280)
    first, second = (noisy(photograph(picture), 2 * seed + n) for n in (0, 1))
    corner = photograph(picture if corner_of is None else scene(corner_of, 280), shift)
    second[CORNER] = noisy(corner, seed + 500)[CORNER]
    return first, second


@pytest.mark.parametrize("shift", [(1.5, 0.0), (0.0, -1.5), (-1.1, 1.1)])
def test_a_shift_in_one_corner_is_found_and_measured(shift):
    found = 0
    for seed in range(20):
        parts = compared(*pair_with_corner(seed, shift))
        assert parts.proven[6:, 6:].all()
        if 1.4 < parts.worst < 1.9:
            found += 1
            assert not parts.proven[0, 0]
    # The others have hardly any detail in that corner.
    assert found >= 18


def test_windows_in_place_are_in_place_in_all_their_parts():
    for seed in range(6):
        parts = compared(*pair_with_corner(seed))
        assert parts.worst < 0.3
        assert parts.proven.all()


def test_a_small_shift_is_seen_but_is_still_in_place():
    for seed in range(6):
        parts = compared(*pair_with_corner(seed, (0.2, -0.2)))
        assert 0.15 < parts.worst < 0.5
        assert parts.proven.all()


def test_a_corner_that_shows_something_else_is_no_shift_at_all():
    worst = []
    for seed in range(20):
        parts = compared(*pair_with_corner(seed, corner_of=seed + 50))
        assert not parts.proven[0, 0]
        worst.append(parts.worst)
    # Another scene may look alike by chance in one part; then it is a wrong shift.
    assert min(worst) > 1
    assert np.isinf(worst).sum() >= 16


def test_only_detail_proves_anything():
    """The lower half is plain: nothing is out of place there, and nothing shows that it is not."""
    picture = scene(3, 280)
    first, second = (photograph(picture) for _ in range(2))
    first[70:], second[70:] = 120.0, 120.0
    parts = compared(noisy(first, 1), noisy(second, 2))
    assert parts.worst < 0.3
    assert parts.proven[:4].all()
    assert not parts.proven[7:].any()


def test_two_plain_windows_are_not_out_of_place_and_prove_nothing():
    plain = np.full((140, 140), 120.0, np.float32)
    parts = compared(noisy(plain, 1), noisy(plain, 2))
    assert parts.worst == 0
    assert not parts.proven.any()


def test_an_edge_alone_proves_nothing_since_it_may_slide_along_itself():
    edge = np.full((140, 140), 60.0, np.float32)
    edge[:, 70:] = 180
    parts = compared(noisy(edge, 1), noisy(edge, 2))
    assert parts.worst < 0.3
    assert not parts.proven.any()


def test_what_is_in_place_depends_on_the_limit():
    pair = pair_with_corner(1, (1.5, 0.0))
    assert not compared(*pair, limit=1.0).proven[0, 0]
    assert compared(*pair, limit=3.0).proven.all()


@functools.cache
def photos():
    """Two photos of four windows of 60 px; the lower two are plain."""
    picture = scene(11, 280)
    photo = photograph(picture)[:128, :128]
    photo[64:] = 120.0
    return rgb(noisy(photo, 1)), rgb(noisy(photo, 2))


CONFIG = PatchConfig(size=60, min_corr=-1.0, max_mismatch=0)


def fates(known, config=CONFIG):
    found = match_windows(*photos(), config, known)
    assert found.window_xy.tolist() == [[4, 4], [64, 4], [4, 64], [64, 64]]
    return list(found.window_fate)


def known_to_hold():
    return np.full((128, 128), HOLDS, np.uint8)


def test_windows_are_kept_without_a_word_of_where_the_map_holds():
    assert fates(None) == [KEPT] * 4
    assert fates(known_to_hold()) == [KEPT] * 4


def test_on_an_edge_between_near_and_far_a_window_s_own_detail_must_tell():
    """The upper two windows prove that they are in place, the lower two are plain."""
    known = known_to_hold()
    known[4:64, 30:50] = EDGE
    assert fates(known) == [KEPT] * 4
    known[64:124, 30:50] = EDGE
    assert fates(known) == [KEPT, KEPT, DEPTH, KEPT]


@pytest.mark.parametrize(("columns", "fate"), [(1, KEPT), (2, DEPTH)])
def test_a_plain_window_may_touch_an_edge_with_3_percent_of_it(columns, fate):
    known = known_to_hold()
    known[64:124, 4 : 4 + columns] = EDGE
    assert fates(known)[2] == fate


@pytest.mark.parametrize("state", [NOT_KNOWN, MISSING])
def test_where_the_map_is_not_known_to_hold_a_window_s_own_detail_must_tell(state):
    """The upper two windows prove that they are in place, the lower two are plain."""
    known = known_to_hold()
    known[4:124, 4:64] = state
    known[0, 127] = EDGE  # in no window; but the scene has depth
    assert fates(known) == [KEPT, KEPT, UNKNOWN, KEPT]


@pytest.mark.parametrize(("columns", "fate"), [(5, KEPT), (7, UNKNOWN)])
def test_a_plain_window_may_be_unknown_in_a_tenth_of_it(columns, fate):
    known = known_to_hold()
    known[64:124, 4 : 4 + columns] = NOT_KNOWN
    known[0, 127] = EDGE
    assert fates(known)[2] == fate


def test_in_a_flat_scene_plain_windows_are_kept():
    """There is no edge: what hides things from one camera is not there."""
    known = known_to_hold()
    known[64:] = NOT_KNOWN
    known[:64] = MISSING
    without, with_known = match_windows(*photos(), CONFIG), match_windows(*photos(), CONFIG, known)
    assert without.window_fate == with_known.window_fate == (KEPT,) * 4
    assert np.array_equal(without.phone, with_known.phone)
    assert np.array_equal(without.dslr, with_known.dslr)


def test_what_was_not_found_must_be_shown_by_detail_even_in_a_flat_scene():
    """A plain thing in front leaves no edge, but its outline was not found where it should be."""
    known = known_to_hold()
    known[64:, :64] = MISSING
    assert fates(known) == [KEPT, KEPT, UNKNOWN, KEPT]


def test_the_test_of_the_parts_can_be_turned_off():
    known = np.full((128, 128), EDGE, np.uint8)
    assert fates(known) == [KEPT, KEPT, DEPTH, DEPTH]
    off = PatchConfig(size=60, min_corr=-1.0, max_mismatch=0, max_part_shift=0)
    assert fates(known, off) == [KEPT] * 4


def test_a_window_with_a_displaced_corner_is_dropped_whatever_is_known():
    first, second = pair_with_corner(1, (2.0, 0.0))
    config = PatchConfig(size=100, min_corr=-1.0, max_mismatch=0)
    known = np.full((140, 140), HOLDS, np.uint8)
    for given in (None, known):
        assert match_windows(rgb(first), rgb(second), config, given).window_fate == (PARTS,)
    loose = PatchConfig(size=100, min_corr=-1.0, max_mismatch=0, max_part_shift=4.0)
    assert match_windows(rgb(first), rgb(second), loose).window_fate == (KEPT,)


def test_what_is_known_of_another_photo_is_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        match_windows(*photos(), CONFIG, np.ones((128, 127), np.uint8))
