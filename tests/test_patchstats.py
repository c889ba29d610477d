"""What the page of patches tells of phone and DSLR patches, against patches made for it."""

import re

import numpy as np
import pytest
from fake_shards import write_shards
from skimage.color import rgb2hsv
from test_depth_benchmark import texture
from test_subblocks import moved

from dpedkit.report.patchstats import (
    brightness,
    comparison,
    kept_correlations,
    saturation,
    sharpness,
)
from dpedkit.shards import open_split
from dpedkit.shards.format import SPLITS

COUNT = 12


@pytest.fixture
def readers(tmp_path):
    """Phone patches darker by half than the DSLR's, which show everything 1.5 px further down."""
    scenes = [texture(seed, 120, 120) for seed in range(COUNT)]
    dslr = np.array([moved(scene, 0, 1.5)[10:110, 10:110] for scene in scenes])
    phone = np.array([scene[10:110, 10:110] // 2 for scene in scenes])
    pair = np.zeros(COUNT, int)
    splits = {"train": (phone[:8], dslr[:8], pair[:8]), "test": (phone[8:], dslr[8:], pair[8:] + 1)}
    folder = write_shards(tmp_path / "shards", splits)
    return [open_split(folder, split) for split in SPLITS]


def test_measures_are_those_of_scikit_image_and_of_the_definition():
    patch = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    assert saturation(patch) == pytest.approx(rgb2hsv(patch)[..., 1].mean(), abs=2e-3)
    assert brightness(patch) == pytest.approx((patch @ (0.299, 0.587, 0.114)).mean(), abs=0.5)
    assert brightness(np.full((9, 9, 3), 77, np.uint8)) == 77
    grey = np.full((9, 9, 3), 50, np.uint8)
    assert sharpness(grey) == saturation(grey) == 0
    grey[:, 5] = 60  # the Laplacian is 10, -20 and 10 there
    values = np.zeros((9, 9))
    values[:, 4:7] = 10, -20, 10
    assert sharpness(grey) == pytest.approx(values.std(), rel=1e-6)


def test_both_cameras_are_compared_over_all_splits(readers):
    text = comparison(readers)
    assert f"{COUNT} patch pairs" in text
    phone, dslr = (
        [float(found) for found in re.findall(rf"{name} \(median ([\d.e+-]+)\)", text)]
        for name in ("phone", "DSLR")
    )
    medians = len({*phone}), len({*dslr})
    assert medians == (3, 3)
    assert phone[0] == pytest.approx(dslr[0] / 2, rel=0.03), "brightness"
    assert phone[2] < 0.7 * dslr[2], "sharpness falls with contrast"


def test_the_shift_of_parts_is_told(readers):
    text = comparison(readers)
    assert "lie within 1.5" in text
    assert "100.0% of the patch pairs have one that is more than 1 px off" in text
    chart = text[text.index("Shift of parts") :]
    bars = re.findall(r"<title>([\d.]+) to ([\d.]+): (\d+) parts", chart)
    full = [(float(low), float(high)) for low, high, count in bars if int(count)]
    assert all(low > 1.35 and high < 1.66 for low, high in full)
    counted = sum(int(count) for *_, count in bars)
    assert 8 * COUNT < counted <= 9 * COUNT and f"Half of the {counted} parts" in text


def test_small_patches_and_none_at_all_are_told_without_shifts(tmp_path):
    small = np.zeros((2, 32, 32, 3), np.uint8)
    folder = write_shards(tmp_path / "small", {"train": (small, small, np.array([0, 0]))})
    text = comparison([open_split(folder, "train")])
    assert "2 patch pairs" in text and "Shift of parts" not in text
    none = [open_split(folder, split) for split in ("val", "test")]
    assert comparison(none) == kept_correlations(none, 0.9) == ""


def test_plain_patches_have_no_shift_to_tell(tmp_path):
    plain = np.full((2, 100, 100, 3), 90, np.uint8)
    folder = write_shards(tmp_path / "plain", {"train": (plain, plain, np.array([0, 0]))})
    text = comparison([open_split(folder, "train")])
    assert "No part of them has enough detail" in text


class Correlations:
    def __init__(self, *ncc):
        self.ncc = np.array(ncc, np.float32)


def test_correlations_above_the_threshold_are_told_apart():
    text = kept_correlations([Correlations(0.905, 0.95), Correlations(0.951, 0.999)], 0.9)
    bars = re.findall(r"<title>([\d.]+) to ([\d.]+): (\d+) patch pairs", text)
    full = {(float(low), float(high)) for low, high, count in bars if int(count)}
    assert len(full) >= 3
    assert sum(int(count) for *_, count in bars) == 4
    assert float(bars[0][0]) == 0.9 and float(bars[-1][1]) == 1
    assert "median 0.951" in text or "median 0.950" in text
    below = kept_correlations([Correlations(0.4, 0.95)], 0.9)
    assert float(re.search(r"<title>([\d.]+) to", below)[1]) == 0.4
