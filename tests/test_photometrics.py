"""Scores of whole photos: those of the metrics for patches, and without what does not count."""

import numpy as np
import pytest
import torch
from skimage import color
from skimage.metrics import structural_similarity

from dpedkit import metrics
from dpedkit.photometrics import MIN_SIDE, ciede2000, ciede2000_of_lab, score_photo

# Sharma, Wu and Dalal, 2005, table 1: pairs where implementations go wrong.
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


def photos(height=200, width=231, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)
    dslr = 255 * (0.2 + 0.6 * coarse[:height, :width])
    photo = 0.9 * dslr + 10 + 6 * rng.standard_normal(dslr.shape)
    return [np.clip(x, 0, 255).astype(np.uint8) for x in (photo, dslr)]


def tensors(*images):
    return [torch.from_numpy(x / 255).float().permute(2, 0, 1)[None] for x in images]


@pytest.mark.parametrize("shape", [(200, 231), (MIN_SIDE, MIN_SIDE), (333, 178)])
def test_without_a_mask_the_scores_are_those_of_patches(shape):
    photo, dslr = photos(*shape)
    found = score_photo(photo, dslr, np.ones(shape, bool))
    a, b = tensors(photo, dslr)
    assert found.psnr == pytest.approx(metrics.psnr(a, b).item(), abs=1e-4)
    assert found.ssim == pytest.approx(metrics.ssim(a, b).item(), abs=1e-5)
    assert found.ms_ssim == pytest.approx(metrics.ms_ssim(a, b).item(), abs=1e-5)
    expected = structural_similarity(
        *(photo, dslr),
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert found.ssim == pytest.approx(expected, abs=1e-3)


def test_what_does_not_count_changes_nothing():
    photo, dslr = photos()
    rng = np.random.default_rng(1)
    counts = np.ones(photo.shape[:2], bool)
    counts[30:90, 20:120] = counts[150:, 180:] = False
    counts[rng.random(counts.shape) < 0.02] = False
    before = score_photo(photo, dslr, counts)
    wild = dslr.copy()
    wild[~counts] = rng.integers(0, 256, wild[~counts].shape)
    assert score_photo(photo, wild, counts) == before
    assert score_photo(photo, wild, np.ones_like(counts)).ssim < before.ssim - 0.05
    alone = ((photo[counts].astype(float) - dslr[counts]) ** 2).mean() / 255**2
    assert before.psnr == pytest.approx(-10 * np.log10(alone), abs=1e-6)


def test_a_photo_equal_to_the_dslrs_is_perfect_wherever_it_counts():
    _, dslr = photos()
    counts = np.zeros(dslr.shape[:2], bool)
    counts[100:103, 50:200] = True
    found = score_photo(dslr, dslr, counts)
    assert (found.psnr, found.ciede2000) == (None, 0)
    assert (found.ssim, found.ms_ssim) == pytest.approx((1, 1), abs=1e-4)


def test_a_mask_of_half_a_photo_scores_that_half():
    """But for windows that would reach over the border between the halves."""
    good, dslr = photos(400, 400)
    photo = good.copy()
    photo[:, 200:] = 255 - dslr[:, 200:]
    counts = np.zeros((400, 400), bool)
    counts[:, :200] = True
    half = score_photo(np.ascontiguousarray(good[:, :200]), dslr[:, :200], counts[:, :200])
    found = score_photo(photo, dslr, counts)
    assert found.psnr == pytest.approx(half.psnr, abs=1e-9)
    assert found.ssim == pytest.approx(half.ssim, abs=0.01)
    assert found.ms_ssim == pytest.approx(half.ms_ssim, abs=0.01)
    assert score_photo(photo, dslr, ~counts).ms_ssim < 0.3


@pytest.mark.parametrize(("a", "b", "expected"), SHARMA)
def test_ciede2000_gives_the_published_values(a, b, expected):
    first, second = np.array([a], float), np.array([b], float)
    assert ciede2000_of_lab(first, second)[0] == pytest.approx(expected, abs=5e-5)
    assert ciede2000_of_lab(second, first)[0] == pytest.approx(expected, abs=5e-5)


def test_ciede2000_is_that_of_scikit_image():
    a, b = np.random.default_rng(0).integers(0, 256, (2, 500, 3), np.uint8)
    a[:3], b[:2] = 0, 255  # black, white and other colours without hue
    expected = color.deltaE_ciede2000(color.rgb2lab(a), color.rgb2lab(b))
    assert ciede2000(a, b) == pytest.approx(expected, abs=0.01)


def test_what_is_refused():
    photo, dslr = photos()
    with pytest.raises(ValueError, match="no pixel"):
        score_photo(photo, dslr, np.zeros(photo.shape[:2], bool))
    with pytest.raises(ValueError, match="176 px"):
        score_photo(photo[:100], dslr[:100], np.ones((100, 231), bool))
    with pytest.raises(ValueError, match="differ"):
        score_photo(photo[:190], dslr, np.ones((200, 231), bool))
