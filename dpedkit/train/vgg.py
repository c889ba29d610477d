"""VGG-19 up to relu5_4, with weights in either of the two forms that are in use.

The weights are looked for where the user says, then in torch's cache; `auto` runs try to download
them there. Nothing in a weights file is executed.
"""

from __future__ import annotations

import hashlib
import http.client
import queue
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpedkit.core import console
from dpedkit.core.atomic import complete_or_absent, make_folder, remove_unfinished
from dpedkit.core.errors import DpedkitError

# Channels of the 16 convolutions; "pool" halves the size. relu5_4 is the last activation.
LAYERS: tuple[int | str, ...] = (
    *(64, 64, "pool"),
    *(128, 128, "pool"),
    *(256, 256, 256, 256, "pool"),
    *(512, 512, 512, 512, "pool"),
    *(512, 512, 512, 512),
)
FILE_NAME = "vgg19-dcbb9e9d.pth"
DOWNLOAD_URL = f"https://download.pytorch.org/models/{FILE_NAME}"
_SHA256_START = "dcbb9e9d"  # torchvision's convention: the name ends in the hash's beginning
_DOWNLOAD_BYTES = 574_673_361
_CONNECT_TIMEOUT_S = 5.0
_NO_ANSWER = (OSError, http.client.HTTPException)  # the latter where it is not the web that answers
# Mean of ImageNet in 0..255, subtracted as the authors (and MatConvNet) do.
_MATCONVNET_MEAN = (123.68, 116.779, 103.939)
_TORCHVISION_MEAN, _TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Convolutions = list[tuple[Tensor, Tensor]]
"""Kernels (out, in, 3, 3) and biases (out,) of the 16 convolutions."""


@dataclass(frozen=True)
class VggWeights:
    """Weights and what they expect to be fed.

    Attributes
    ----------
    convolutions : list of (Tensor, Tensor)
    scale, mean, std : float and tuples of float
        An image in [0, 1] is fed as `(image * scale - mean) / std`.
    source : str
        The file, for the record of the run.
    """

    convolutions: Convolutions
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


class Vgg19(nn.Module):
    """The feature maps of relu5_4 for images in [0, 1]; frozen.

    Parameters
    ----------
    weights : VggWeights
    pooling : str
        "same": a size that is odd is rounded up, 100 -> 50 -> 25 -> 13 -> 7, as in the authors'
        code. "floor": rounded down, 100 -> 50 -> 25 -> 12 -> 6, as torchvision has it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: VggWeights, pooling: str = "same") -> None:
        super().__init__()
        self.ceil = pooling == "same"
        self.scale = weights.scale
        self.register_buffer("mean", torch.tensor(weights.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(weights.std)[:, None, None])
        for index, (kernel, bias) in enumerate(weights.convolutions):
            self.register_buffer(f"kernel_{index}", kernel)
            self.register_buffer(f"bias_{index}", bias)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 512, about H/16, about W/16)."""
        x = (image * self.scale - self.mean) / self.std
        index = 0
        for layer in LAYERS:
            if layer == "pool":
                x = functional.max_pool2d(x, 2, ceil_mode=self.ceil)
            else:
                kernel, bias = (getattr(self, f"{name}_{index}") for name in ("kernel", "bias"))
                x = functional.relu(functional.conv2d(x, kernel, bias, padding=1))
                index += 1
        return x


def find_weights(path: str | None, *, download: bool) -> Path | None:
    """The weights file to use, or None if there is none to be had.

    Parameters
    ----------
    path : str or None
        A file that the user named; it must exist.
    download : bool
        Whether to fetch the file to torch's cache if it is in neither place. Without a network
        that fails within seconds.

    Raises
    ------
    DpedkitError
        If the named file does not exist.
    """
    if path is not None:
        if not Path(path).is_file():
            raise DpedkitError(f"{path}: there is no such file of VGG-19 weights.")
        return Path(path)
    cached = cache_file()
    if cached.is_file():
        return cached
    return _download(cached) if download else None


def cache_file() -> Path:
    """Where torch (and so torchvision) keeps VGG-19's weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / FILE_NAME


def read_weights(path: Path) -> VggWeights:
    """Read VGG-19 from a torchvision state dict (.pth, .pt) or from the MatConvNet .mat file.

    Raises
    ------
    DpedkitError
        If it is neither, or not VGG-19.
    """
    read = _read_matconvnet if path.suffix.lower() == ".mat" else _read_torchvision
    try:
        weights = read(path)
    except Exception as error:  # each reader has its own ways to fail on a foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DpedkitError(
            f"{path} does not hold the weights of VGG-19 ({reason}); give torchvision's "
            f"{FILE_NAME} or MatConvNet's imagenet-vgg-verydeep-19.mat."
        ) from None
    channels = [layer for layer in LAYERS if layer != "pool"]
    wanted = [(c, b, 3, 3) for c, b in zip(channels, [3, *channels[:-1]], strict=True)]
    if [tuple(kernel.shape) for kernel, _ in weights.convolutions] != wanted:
        raise DpedkitError(f"{path} holds a network of other sizes than VGG-19.")
    return weights


def _read_torchvision(path: Path) -> VggWeights:
    state = torch.load(path, map_location="cpu", weights_only=True)
    # features.N counts ReLU and pooling layers too.
    numbers, position = [], 0
    for layer in LAYERS:
        if layer != "pool":
            numbers.append(position)
        position += 1 if layer == "pool" else 2
    convolutions = [
        (state[f"features.{n}.weight"].float(), state[f"features.{n}.bias"].float())
        for n in numbers
    ]
    return VggWeights(convolutions, 1.0, _TORCHVISION_MEAN, _TORCHVISION_STD, str(path))


def _read_matconvnet(path: Path) -> VggWeights:
    """`layers{i}.weights` = {kernel (width, height, in, out), bias}, as the authors read it."""
    from scipy.io import loadmat

    layers = loadmat(path, simplify_cells=True)["layers"]
    convolutions: Convolutions = []
    for layer in layers:
        if layer.get("type", "conv") == "conv" and len(layer.get("weights", ())) == 2:
            kernel, bias = (torch.as_tensor(part).float() for part in layer["weights"])
            convolutions.append((kernel.permute(3, 2, 1, 0).contiguous(), bias.flatten()))
    convolutions = convolutions[:16]  # the fully connected layers follow as convolutions
    return VggWeights(convolutions, 255.0, _MATCONVNET_MEAN, (1.0, 1.0, 1.0), str(path))


def _download(target: Path) -> Path | None:
    """Fetch the weights to torch's cache; None when there is no network."""
    console.say(f"VGG-19's weights are not in torch's cache; trying {DOWNLOAD_URL}")
    try:
        answer = _open_within(_CONNECT_TIMEOUT_S)
        make_folder(target.parent)
        remove_unfinished([target])
        digest = hashlib.sha256()
        with (
            answer,
            complete_or_absent(target) as part,
            part.open("wb") as file,
            console.progress("VGG-19", _DOWNLOAD_BYTES >> 20, "MiB") as bar,
        ):
            while block := answer.read(1 << 20):
                file.write(block)
                digest.update(block)
                bar.advance()
            if not digest.hexdigest().startswith(_SHA256_START):
                raise OSError("what came is not the file that was asked for")
    except (*_NO_ANSWER, DpedkitError) as error:
        console.detail(f"the download failed: {error}")
        return None
    return target


def _open_within(seconds: float) -> http.client.HTTPResponse:
    """Open the download, giving up after a while even where looking up the host name hangs."""
    opened: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            opened.put(urllib.request.urlopen(DOWNLOAD_URL, timeout=seconds))
        except _NO_ANSWER as error:
            opened.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = opened.get(timeout=2 * seconds)
    except queue.Empty:
        raise OSError(f"no answer within {2 * seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
