"""PSNR, SSIM and MS-SSIM against direct float64 translations and scikit-image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage, signal
from skimage.metrics import structural_similarity

from dpedkit.images import read_photo
from dpedkit.metrics import ms_ssim, ms_ssim_of_batch, ms_ssim_to_learn_from, psnr, ssim

DPED = Path(__file__).parents[2] / "shared" / "data" / "dped" / "patches"


def reference_window(size):
    """A Gaussian window over integer or half-integer positions, sigma 1.5 for 11 taps."""
    sigma = size * 1.5 / 11
    positions = np.arange(size) - (size - 1) / 2
    window = np.exp(-(positions[:, None] ** 2 + positions[None, :] ** 2) / (2 * sigma**2))
    return window / window.sum()


def reference_terms(a, b):
    """SSIM and contrast of a batch (N, H, W, C) of images in 0..255, by scipy's convolution."""
    size = min(11, a.shape[1], a.shape[2])
    window = reference_window(size)[None, :, :, None]

    def blur(x):
        return signal.fftconvolve(x, window, mode="valid")

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    contrast = (2 * covariance + c2) / (var_a + var_b + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * contrast).mean(), contrast.mean()


def reference_ms_ssim(a, b):
    """MS-SSIM of a batch (N, H, W, C) in 0..255."""
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    halving = np.ones((1, 2, 2, 1)) / 4
    similarities, contrasts = [], []
    for _ in weights:
        similarity, contrast = reference_terms(a, b)
        similarities.append(similarity)
        contrasts.append(contrast)
        a, b = (ndimage.convolve(x, halving, mode="reflect")[:, ::2, ::2] for x in (a, b))
    return np.prod(np.array(contrasts[:-1]) ** weights[:-1]) * similarities[-1] ** weights[-1]


def similar_images(seed, count=3, height=100, width=100):
    rng = np.random.default_rng(seed)
    a = ndimage.gaussian_filter(rng.random((count, height, width, 3)), (0, 2, 2, 0)) * 4 - 1.5
    b = np.clip(0.8 * a + 0.1 + 0.05 * rng.standard_normal(a.shape), 0, 1)
    return np.clip(a, 0, 1), b


def tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("height", "width"), [(100, 100), (97, 64), (33, 120), (16, 16)])
def test_ms_ssim_is_the_direct_translation(height, width):
    a, b = similar_images(0, height=height, width=width)
    each = [reference_ms_ssim(a[i : i + 1] * 255, b[i : i + 1] * 255) for i in range(len(a))]
    np.testing.assert_allclose(ms_ssim(tensor(a), tensor(b)).numpy(), each, atol=1e-10)
    batch = reference_ms_ssim(a * 255, b * 255)
    assert ms_ssim_of_batch(tensor(a), tensor(b)).item() == pytest.approx(batch, abs=1e-10)


def test_float32_is_precise_enough_for_four_digits():
    a, b = (tensor(x) for x in similar_images(1))
    difference = ms_ssim(a.float(), b.float()).double() - ms_ssim(a, b)
    assert difference.abs().max() < 1e-5


def test_ssim_is_that_of_scikit_image():
    a, b = similar_images(2)
    expected = [
        structural_similarity(
            x, y, channel_axis=2, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
        )
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(ssim(tensor(a), tensor(b)).numpy(), expected, atol=1e-10)


def test_psnr_from_its_definition():
    a, b = similar_images(3)
    expected = [10 * np.log10(1 / np.mean((x - y) ** 2)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(psnr(tensor(a), tensor(b)).numpy(), expected, rtol=1e-12)
    assert psnr(tensor(a), tensor(a)).isinf().all()


pictures = arrays(np.float64, (2, 3, 17, 20), elements=st.floats(0, 1))


@settings(max_examples=25, deadline=None)
@given(pictures, pictures)
def test_similarity_is_symmetric_at_most_one_and_one_for_the_same_picture(a, b):
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    for similarity in (ssim, ms_ssim):
        values = similarity(a, b)
        torch.testing.assert_close(values, similarity(b, a))
        assert (values <= 1 + 1e-9).all() and values.isfinite().all()
        torch.testing.assert_close(similarity(a, a), torch.ones(2, dtype=torch.float64))


def test_ms_ssim_has_the_right_gradient():
    a, b = (tensor(x)[:1, :1, :18, :18].clone() for x in similar_images(4))
    assert torch.autograd.gradcheck(lambda x: ms_ssim(x, b), a.requires_grad_())


def test_opposite_pictures_score_0_and_have_a_finite_gradient():
    a = torch.rand(1, 3, 32, 32, requires_grad=True)
    value = ms_ssim(a, 1 - a.detach())
    value.sum().backward()
    assert value.item() == 0
    assert ms_ssim_of_batch(a, 1 - a).item() == 0
    assert a.grad is not None and a.grad.isfinite().all()


def test_one_negative_scale_makes_0_but_leaves_something_to_learn():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    slope, checks = x / 64, 0.2 * (-1) ** (x + y)
    # Opposite in the finest scale alone: halving makes an even grey of the checks.
    a, b = ((slope + sign * checks).expand(1, 3, 64, 64).clone() for sign in (1, -1))
    a.requires_grad_()
    assert ms_ssim(a, b).item() == 0
    value = ms_ssim_to_learn_from(a, b)
    value.sum().backward()
    assert 0.1 < value.item() < 1
    assert a.grad.isfinite().all() and a.grad.abs().max() > 0


def test_the_measure_to_learn_from_is_the_measure():
    a, b = (tensor(x) for x in similar_images(4))
    torch.testing.assert_close(ms_ssim_to_learn_from(a, b), ms_ssim(a, b))


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="16 px"):
        ms_ssim(torch.rand(1, 3, 15, 40), torch.rand(1, 3, 15, 40))


@pytest.mark.skipif(not DPED.is_dir(), reason="the real DPED patches are not beside the repository")
def test_unprocessed_dped_patches_have_the_published_numbers():
    pairs = [
        [read_photo(DPED / side / f"{i}.jpg") for i in range(300)] for side in ("iphone", "canon")
    ]
    phone, dslr = (tensor(np.stack(photos)).float() / 255 for photos in pairs)
    each = psnr(phone, dslr)
    assert each.isinf().sum() == 3  # published pairs that are the same picture twice
    assert each[each.isfinite()].mean().item() == pytest.approx(17.31, abs=0.01)
    assert ms_ssim(phone, dslr).mean().item() == pytest.approx(0.8460, abs=0.0005)


GREY = torch.full((2, 3, 20, 20), 0.5)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim])
@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (GREY * 255, ValueError, r"from 127.5 to 127.5, but images must be in \[0, 1\]"),
        (GREY * 2 - 2, ValueError, "from -1 to -1"),
        ((GREY * 255).to(torch.uint8), TypeError, "torch.uint8"),
        (GREY.numpy(), TypeError, "ndarray"),
        (GREY[0], ValueError, r"\(3, 20, 20\)"),
        (GREY[:, :, 1:], ValueError, r"the shapes differ: .*\(2, 3, 19, 20\)"),
        (GREY[:1], ValueError, "the shapes differ"),
    ],
    ids=["0-255", "-1 to 1", "integers", "array", "rank 3", "shape", "count"],
)
def test_what_is_no_pair_of_images_is_refused(metric, wrong, error, said):
    with pytest.raises(error, match=said):
        metric(wrong, GREY)
    with pytest.raises(error):
        metric(GREY, wrong)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim])
def test_images_that_overshoot_or_are_not_finite_are_measured(metric):
    over = GREY.clone()
    over[0, 0, 0, :2] = torch.tensor([-0.2, 1.3])
    assert torch.isfinite(metric(over, GREY)[0])
    over[0, 0, 0, 0] = torch.nan
    assert torch.isnan(metric(over, GREY)[0])


def test_images_too_small_for_five_scales_are_refused():
    with pytest.raises(ValueError, match=r"at least 16 px.*\(2, 3, 15, 20\)"):
        ms_ssim(GREY[:, :, :15], GREY[:, :, :15])
