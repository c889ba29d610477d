"""Every loss term against a float64 reference written from its formula, and by gradcheck."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import norm
from torch import nn

from dpedkit import losses
from dpedkit.losses import ColourLoss, ContentLoss, MSSSIML1Loss, TextureLoss, TVLoss


def images(seed, shape=(2, 3, 24, 30)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference_kernel(name):
    """The two-dimensional blur kernel as the paper and the authors' code write it."""
    if name == "paper":
        k, m = np.mgrid[-7:8, -7:8]
        return 0.053 * np.exp(-(k**2) / (2 * 3) - m**2 / (2 * 3))
    interval = (2 * 3 + 1.0) / 21
    edges = np.linspace(-3 - interval / 2, 3 + interval / 2, 22)
    cells = np.diff(norm.cdf(edges))
    kernel = np.sqrt(np.outer(cells, cells))
    return kernel / kernel.sum()


def reference_blur(x, name):
    kernel = reference_kernel(name)[None, None]
    return ndimage.convolve(x.numpy(), kernel, mode="constant")


def test_paper_blur_is_equation_4():
    taps = losses.paper_taps().numpy()
    np.testing.assert_allclose(np.outer(taps, taps), reference_kernel("paper"), rtol=2e-3)


def test_authors_blur_is_their_kernel():
    taps = losses.authors_taps().numpy()
    np.testing.assert_allclose(np.outer(taps, taps), reference_kernel("authors"), rtol=1e-12)
    positions = np.arange(-10, 11)
    assert np.sqrt((taps * positions**2).sum()) == pytest.approx(4.34, abs=0.01)


def test_colour_terms():
    x, y = images(0), images(1)
    squared = ((reference_blur(x, "paper") - reference_blur(y, "paper")) ** 2).sum() / 2
    assert ColourLoss("paper")(x, y).item() == pytest.approx(squared, rel=5e-3)
    squared = ((reference_blur(x, "authors") - reference_blur(y, "authors")) ** 2).sum() / (2 * 2)
    assert ColourLoss("authors")(x, y).item() == pytest.approx(squared, rel=1e-10)


def test_blur_of_an_image_smaller_than_the_kernel():
    x = images(2, (1, 3, 6, 9))
    blurred = losses.blur(x, losses.authors_taps())
    np.testing.assert_allclose(blurred.numpy(), reference_blur(x, "authors"), atol=1e-12)


def test_content_terms():
    x, y = (images(seed, (2, 5, 3, 4)).numpy() for seed in (3, 4))
    each = [np.linalg.norm(a - b) / (5 * 3 * 4) for a, b in zip(x, y, strict=True)]
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    for definition, expected in (("paper", np.mean(each)), ("authors", ((x - y) ** 2).mean())):
        content = ContentLoss(nn.Identity(), definition)
        assert content(a, b).item() == pytest.approx(expected, rel=1e-9)
        assert content.distance(a, b).item() == content(a, b).item()


def test_texture_terms():
    logits = torch.tensor([-3.0, 0.2, 40.0, -40.0], dtype=torch.float64)
    p_dslr = 1 / (1 + np.exp(-logits.numpy()))
    assert TextureLoss("paper")(logits).item() == pytest.approx(-np.log(p_dslr).mean(), rel=1e-9)
    p_fake = 1 / (1 + np.exp(logits.numpy()))
    assert TextureLoss("authors")(logits).item() == pytest.approx(np.log(p_fake).sum(), rel=1e-9)
    is_dslr = torch.tensor([True, False, True, False])
    right = np.where(is_dslr.numpy(), p_dslr, p_fake)
    loss = losses.discriminator_loss(logits, is_dslr).item()
    assert loss == pytest.approx(-np.log(right).mean(), rel=1e-9)


def test_tv_terms():
    x = images(5).numpy()
    dx, dy = np.diff(x, axis=3), np.diff(x, axis=2)
    both = dx[:, :, :-1] + dy[:, :, :, :-1]
    paper = np.mean([np.linalg.norm(image) for image in both]) / x[0].size
    assert TVLoss("paper")(torch.from_numpy(x)).item() == pytest.approx(paper, rel=1e-9)
    authors = 2 * ((dx**2).sum() / 2 / dx[0].size + (dy**2).sum() / 2 / dy[0].size) / len(x)
    assert TVLoss("authors")(torch.from_numpy(x)).item() == pytest.approx(authors, rel=1e-12)


def test_content_without_vgg_weights():
    x = images(6)
    assert MSSSIML1Loss()(x, x).item() == pytest.approx(0, abs=1e-9)
    assert losses.pixel_l1(x, x + 0.25).item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    "term",
    [
        ColourLoss("paper"),
        ColourLoss("authors"),
        ContentLoss(nn.ReLU(), "paper"),
        ContentLoss(nn.ReLU(), "authors"),
        MSSSIML1Loss(),
        losses.ms_ssim_loss,
        losses.pixel_l1,
    ],
)
def test_gradients_towards_a_target(term):
    x, y = images(7, (2, 2, 17, 16)), images(8, (2, 2, 17, 16))
    # Along random directions only: MS-SSIM's whole Jacobian is checked with the metrics.
    assert torch.autograd.gradcheck(lambda a: term(a, y), x.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("term", [TVLoss("paper"), TVLoss("authors")])
def test_gradients_of_smoothness(term):
    assert torch.autograd.gradcheck(term, images(9, (2, 3, 8, 7)).requires_grad_())


@pytest.mark.parametrize("term", [TextureLoss("paper"), TextureLoss("authors")])
def test_gradients_of_texture(term):
    assert torch.autograd.gradcheck(term, (images(10, (5,)) * 6 - 3).requires_grad_())


@pytest.mark.parametrize("term", [ContentLoss(nn.Identity()), ColourLoss()])
def test_equal_images_have_a_finite_gradient(term):
    x = images(11).requires_grad_()
    term(x, x.detach().clone()).backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_no_gradient_flows_to_the_target_of_the_content_loss():
    network = nn.Conv2d(3, 4, 3)
    x, y = (image.float().requires_grad_() for image in (images(12), images(13)))
    ContentLoss(network)(x, y).backward()
    assert x.grad is not None and y.grad is None


@pytest.mark.parametrize("loss", [ColourLoss, TVLoss, TextureLoss])
def test_there_are_two_definitions(loss):
    assert loss().definition == "paper"
    assert repr(loss("authors")) == f"{loss.__name__}('authors')"
    with pytest.raises(ValueError, match="'paper' or 'authors'"):
        loss("Paper")


@pytest.mark.parametrize("loss", [ColourLoss(), ContentLoss(nn.Identity()), MSSSIML1Loss()])
def test_images_of_the_wrong_form_are_refused(loss):
    image = torch.rand(2, 3, 20, 20)
    with pytest.raises(ValueError, match=r"not \(3, 20, 20\) torch.float32"):
        loss(image[0], image[0])
    with pytest.raises(ValueError, match=r"torch.uint8"):
        loss(image, (image * 255).byte())
    with pytest.raises(ValueError, match=r"\(2, 3, 20, 20\) and \(1, 3, 20, 20\)"):
        loss(image, image[:1])
