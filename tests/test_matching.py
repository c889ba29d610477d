"""Matching windows: known motions come back, and what must not be kept is dropped."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from dpedkit.core.errors import UsageError
from dpedkit.patches import PatchConfig, match_windows
from dpedkit.patches.matching import KEPT, window_grid
from dpedkit.patches.registration import Planes, register
from dpedkit.patches.verdict import ncc

SIZE = 100
Gray = NDArray[np.float32]


def scene(seed: int, side: int) -> Gray:
    """A sharp picture at twice the photos' resolution: soft texture under hard-edged shapes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((side, side), np.float32)
    for scale in (2, 4, 8, 16, 64):
        noise = rng.normal(size=(side // scale + 2, side // scale + 2)).astype(np.float32)
        picture += scale**0.7 * cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    picture = 110 + 22 * picture / picture.std()
    for _ in range(side * side // 3000):
        x, y = rng.integers(0, side, 2)
        width, height = rng.integers(4, 50, 2)
        cv2.rectangle(
            picture, (int(x), int(y)), (int(x + width), int(y + height)), rng.uniform(20, 230), -1
        )
    return picture


def photograph(picture: Gray, shift: tuple[float, float] = (0, 0), angle: float = 0) -> Gray:
    """What a camera makes of a scene; content moves by `shift` px and turns about the centre."""
    side = len(picture)
    centre = np.full(2, (side - 1) / 2)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    back = np.column_stack([turn.T, centre - turn.T @ (centre + 2 * np.array(shift))])
    moved = cv2.warpAffine(
        picture,
        back,
        (side, side),
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return cv2.resize(moved, (side // 2, side // 2), interpolation=cv2.INTER_AREA)


def rgb(gray: Gray) -> NDArray[np.uint8]:
    return np.repeat(np.clip(gray + 0.5, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def luma_ncc(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    weights = np.array([0.299, 0.587, 0.114])
    return float(np.corrcoef((a @ weights).ravel(), (b @ weights).ravel())[0, 1])


def residual_shift(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Shift that is left between two patches, by upsampled phase correlation, px."""
    window = np.outer(np.hanning(len(a)), np.hanning(len(a)))
    first, second = ((patch[:, :, 1] - patch[:, :, 1].mean()) * window for patch in (a, b))
    shift = phase_cross_correlation(first, second, upsample_factor=50, normalization=None)[0]
    return float(np.hypot(*shift))


def test_known_sub_pixel_motions_come_back() -> None:
    """Two cameras: one blurred and noisy, the other with another tone curve."""
    rng = np.random.default_rng(5)
    shift_errors, angle_errors, claimed = [], [], []
    for seed in range(60):
        picture = scene(seed, 280)
        shift, angle = rng.uniform(-4.5, 4.5, 2), rng.uniform(-1.5, 1.5)
        phone = cv2.GaussianBlur(photograph(picture), (0, 0), rng.uniform(0.3, 1.3))
        phone = 0.8 * phone + 20 + rng.normal(0, 3, phone.shape).astype(np.float32)
        dslr = 255 * (photograph(picture, tuple(shift), angle).clip(0, 255) / 255) ** 0.8
        motion = register(Planes.of(phone), Planes.of(dslr), 20, 20, SIZE, 5.0)
        shift_errors.append(np.hypot(*(np.array(motion.shift) - shift)))
        angle_errors.append(abs(motion.angle - angle))
        claimed.append(motion.shift_error)
    assert np.median(shift_errors) <= 0.05
    assert np.percentile(shift_errors, 95) <= 0.30
    assert np.median(angle_errors) <= 0.10
    # The standard error is honest: of the right order, neither boast nor alarm.
    assert 0.2 < np.median(shift_errors) / np.median(claimed) < 2


@pytest.mark.parametrize("adjust", ["dslr", "phone"])
def test_after_cutting_no_shift_is_left(adjust: str) -> None:
    picture = scene(1, 1300)
    phone, dslr = rgb(photograph(picture)), rgb(photograph(picture, (2.3, -1.6), 0.1))
    patches = match_windows(phone, dslr, PatchConfig(adjust=adjust))
    assert len(patches) >= 0.9 * patches.tried
    left = [residual_shift(a, b) for a, b in zip(patches.phone, patches.dslr, strict=True)]
    assert np.median(left) <= 0.06
    assert np.percentile(left, 95) <= 0.35
    sign = 1 if adjust == "dslr" else -1
    assert np.median(patches.shift[:, 1]) == pytest.approx(sign * -1.6, abs=0.5)


def test_the_ncc_is_that_of_the_patches_handed_out() -> None:
    picture = scene(2, 700)
    phone, dslr = rgb(photograph(picture)), rgb(photograph(picture, (0.6, 0.4)))
    patches = match_windows(phone, dslr, PatchConfig())
    assert len(patches) > 4
    expected = [luma_ncc(a, b) for a, b in zip(patches.phone, patches.dslr, strict=True)]
    np.testing.assert_allclose(patches.ncc, expected, atol=1e-4)


def test_phone_pixels_stay_original_and_aligned_windows_are_not_resampled() -> None:
    picture = scene(3, 700)
    rng = np.random.default_rng(0)
    phone = rgb(photograph(picture))
    dslr = rgb(photograph(picture) * 0.7 + 30 + rng.normal(0, 2, (350, 350)))
    patches = match_windows(phone, dslr, PatchConfig())
    assert len(patches) == 9
    for (x, y), a, b in zip(patches.xy, patches.phone, patches.dslr, strict=True):
        np.testing.assert_array_equal(a, phone[y : y + SIZE, x : x + SIZE])
        np.testing.assert_array_equal(b, dslr[y : y + SIZE, x : x + SIZE])
    assert not patches.shift.any()


@settings(max_examples=15, deadline=None)
@given(st.floats(0.4, 1.0), st.floats(0, 40))
def test_gain_and_offset_change_neither_the_motion_nor_the_ncc(gain: float, offset: float) -> None:
    picture = scene(4, 280)
    phone, moved = photograph(picture), photograph(picture, (1.4, -2.2), 0.8)
    changed = gain * moved + np.float32(offset)
    assert ncc(phone, changed) == pytest.approx(ncc(phone, moved), abs=1e-5)
    plain = register(Planes.of(phone), Planes.of(moved), 20, 20, SIZE, 5.0)
    other = register(Planes.of(phone), Planes.of(changed), 20, 20, SIZE, 5.0)
    assert other.shift == pytest.approx(plain.shift, abs=0.01)
    assert other.angle == pytest.approx(plain.angle, abs=0.01)


def sky(side: int, seed: int) -> Gray:
    """A soft gradient that runs down the photo: nothing in it tells a shift."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, side, dtype=np.float32)[:, None]
    return ramp + rng.normal(0, 1.5, (side, side)).astype(np.float32)


def test_the_measured_shift_is_told_even_where_it_moves_nothing() -> None:
    picture = scene(3, 700)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2, (2, 350, 350)).astype(np.float32)
    first, second = photograph(picture), photograph(picture, (0.06, -0.08))
    patches = match_windows(rgb(first + noise[0]), rgb(second + noise[1]), PatchConfig())
    assert (patches.shift == 0).all(axis=1).mean() > 0.5  # not worth a resampling
    assert np.median(patches.window_shift) == pytest.approx(0.1, abs=0.02)
    flat = match_windows(rgb(sky(350, 0)), rgb(sky(350, 1)), PatchConfig())
    assert np.isnan(flat.window_shift).all()


def test_flat_windows_stay_where_the_alignment_puts_them() -> None:
    patches = match_windows(rgb(sky(350, 0)), rgb(sky(350, 1)), PatchConfig())
    assert len(patches) == patches.tried == 9
    assert not patches.shift.any() and not patches.angle.any()
    assert (patches.shift_error > 0.3).all()


def test_flat_windows_are_kept_dropped_or_limited_as_asked() -> None:
    textured = photograph(scene(6, 700))
    phone = np.vstack([sky(350, 0), textured])
    dslr = np.vstack([sky(350, 1), textured])
    kept, dropped, some = (
        match_windows(rgb(phone), rgb(dslr), PatchConfig(flat=flat))
        for flat in ("keep", "drop", "25%")
    )
    flat = len(kept) - len(dropped)
    assert flat >= 6 and dropped.dropped["flat"] == flat
    assert (dropped.shift_error <= 0.3).all()
    allowed = len(dropped) // 3
    assert len(some) == len(dropped) + allowed
    # Those with the highest NCC stay.
    is_flat = kept.shift_error > 0.3
    best = sorted(kept.ncc[is_flat])[-allowed:]
    np.testing.assert_array_equal(sorted(some.ncc[some.shift_error > 0.3]), best)


def one_window(phone: Gray, dslr: Gray, **settings: object) -> str:
    """The fate of the only window of two 140x140 photos."""
    patches = match_windows(rgb(phone), rgb(dslr), PatchConfig(**settings))  # type: ignore[arg-type]
    assert patches.tried == 1
    return patches.window_fate[0]


def test_each_reason_to_drop_a_window() -> None:
    picture = scene(7, 280)
    phone = photograph(picture)
    assert one_window(phone, phone) == KEPT
    assert one_window(phone, photograph(scene(8, 280))) == "low NCC"
    hidden = phone.copy()
    hidden[60:95, 60:95] = photograph(scene(8, 280))[60:95, 60:95]
    assert one_window(phone, hidden) == "mismatch"
    assert one_window(phone * 2.2, phone * 2.2) == "clipped"
    assert one_window(phone, photograph(picture, (6.5, 0)), max_shift=5) == "too far"
    assert one_window(phone, photograph(picture, (0, 0), 3.5), max_angle=2) == "too far"
    # 20 px of margin are on each side, and bicubic interpolation reads 2 px more.
    assert one_window(phone, photograph(picture, (19, 0)), max_shift=32) == "outside"


def test_a_colour_cast_in_one_channel_counts_only_when_channels_are_compared() -> None:
    picture, other = photograph(scene(9, 280)), photograph(scene(10, 280))
    phone = rgb(picture)
    dslr = rgb(picture)
    dslr[:, :, 2] = rgb(other)[:, :, 2]
    assert len(match_windows(phone, dslr, PatchConfig(max_mismatch=0))) == 1
    strict = match_windows(phone, dslr, PatchConfig(correlate="channels", max_mismatch=0))
    assert strict.dropped == {"low NCC": 1}


def test_pasted_things_are_found_and_clean_windows_kept() -> None:
    """A 27x27 block of other content covers 7% of the window; NCC alone lets many pass."""
    rng = np.random.default_rng(11)
    clean, by_ncc, by_test, count = 0, 0, 0, 60
    for seed in range(count):
        phone = cv2.GaussianBlur(photograph(scene(seed, 280)), (0, 0), 0.8)
        dslr = photograph(scene(seed, 280))
        clean += one_window(phone, dslr) == KEPT
        x, y = rng.integers(22, 90, 2)
        other = photograph(scene(seed + 500, 280))
        dslr[y : y + 27, x : x + 27] = other[y : y + 27, x : x + 27]
        by_ncc += one_window(phone, dslr, max_mismatch=0, max_part_shift=0) == KEPT
        by_test += one_window(phone, dslr) == KEPT
    assert clean >= 0.98 * count
    assert by_ncc >= 0.15 * count
    assert by_test <= 0.05 * count


@given(st.integers(20, 900), st.integers(20, 900), st.integers(32, 200), st.integers(0, 4))
def test_windows_lie_inside_the_photo_and_never_overlap(
    height: int, width: int, size: int, gap: int
) -> None:
    corners = np.array(window_grid(height, width, size, gap)).reshape(-1, 2)
    assert (corners >= 3).all()
    assert (corners + size + 3 <= (width, height)).all()
    apart = np.abs(corners[:, None] - corners[None]).max(axis=2)
    apart[np.diag_indices(len(corners))] = 10**6
    assert (apart >= size + gap).all()
    if len(corners) == 0:
        assert min(width, height) < size + 6


def test_moved_phone_windows_never_overlap() -> None:
    """Each half of the DSLR photo shows the scene moved towards the other half."""
    picture = photograph(scene(12, 1300))
    phone, dslr = picture, picture.copy()
    half = 2 * SIZE + (650 - 6 * SIZE - 5 * 2) // 2 + 5
    dslr[:, :half] = np.roll(picture, -3, axis=1)[:, :half]
    dslr[:, half:] = np.roll(picture, 3, axis=1)[:, half:]
    patches = match_windows(rgb(phone), rgb(dslr), PatchConfig(adjust="phone", max_mismatch=0))
    corners = patches.xy + patches.shift
    apart = np.abs(corners[:, None] - corners[None]).max(axis=2)
    apart[np.diag_indices(len(corners))] = 10**6
    assert (apart >= SIZE - 1e-3).all()
    assert len(patches) > 20
    assert "overlap" in patches.dropped


def test_a_photo_smaller_than_a_window_gives_nothing() -> None:
    tiny = np.zeros((90, 300, 3), np.uint8)
    patches = match_windows(tiny, tiny, PatchConfig())
    assert patches.tried == len(patches) == 0
    assert patches.phone.shape == (0, SIZE, SIZE, 3)


@pytest.mark.parametrize("flat", ["some", "10", "-5%", "120%", "%"])
def test_a_flat_setting_that_makes_no_sense_is_refused(flat: str) -> None:
    with pytest.raises(UsageError, match="keep, drop, or a percentage"):
        PatchConfig(flat=flat)
