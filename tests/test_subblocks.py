"""Shifts of parts of patches: planted ones are found, and none where nothing can be told."""

import cv2
import numpy as np
import pytest
from test_depth_benchmark import texture

from dpedkit.report.subblocks import SubBlocks


def moved(patch: np.ndarray, x: float, y: float) -> np.ndarray:
    matrix = np.array([[1, 0, -x], [0, 1, -y]], np.float64)
    return cv2.warpAffine(patch, matrix, patch.shape[1::-1], flags=cv2.INTER_CUBIC)


def test_a_part_that_is_shifted_is_found_and_nothing_else_is():
    scenes = [texture(seed, 120, 120) for seed in range(3)]
    phone = np.array([scene[10:110, 10:110] for scene in scenes])
    noise = np.random.default_rng(0).normal(0, 3, phone.shape)
    dslr = np.clip(phone * 0.8 + 20 + noise, 0, 255).astype(np.uint8)
    same = SubBlocks.of(phone, dslr)
    assert same.textured.all()
    assert same.row()["median"] < 0.05
    assert same.row()["off"] == same.row()["unclear"] == 0
    for n, scene in enumerate(scenes[:2]):
        dslr[n, :50, :50] = moved(scene, 0.9, -1.2)[10:60, 10:60]  # 1.5 px
    quarter = SubBlocks.of(phone, dslr)
    assert quarter.row()["off"] == pytest.approx(2 / 3, abs=1e-3)
    np.testing.assert_allclose(quarter.shift[:2, 0], 1.5, atol=0.1)  # upper left
    np.testing.assert_array_equal(quarter.shift[2], same.shift[2])
    np.testing.assert_array_equal(quarter.shift[:, 8], same.shift[:, 8])


def test_plain_and_ambiguous_sub_blocks_say_nothing():
    lines = np.tile(texture(0, 1, 100), (100, 1, 1))
    y, x = np.mgrid[:100, :100]
    wave = 128 + 50 * np.sin(x * np.pi / 2) * np.cos(y * np.pi / 2)
    repeated = np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)
    other = texture(1, 100, 100)
    phone = np.stack([np.full_like(lines, 90), lines, repeated, other])
    found = SubBlocks.of(phone, np.stack([*phone[:3], texture(2, 100, 100)]))
    assert found.textured.any(axis=1).tolist() == [False, False, True, True]
    assert np.isnan(found.shift[:3]).all()
    assert found.row()["unclear"] > 0.6
    # What shows other content either has no peak or one somewhere.
    assert not (found.shift[3] < 0.5).any()
