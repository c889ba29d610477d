"""VGG-19 up to relu5_4, the network whose features the content loss compares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# Channels of the 16 convolutions; "pool" halves the size. relu5_4 is the last activation.
LAYERS: tuple[int | str, ...] = (
    *(64, 64, "pool"),
    *(128, 128, "pool"),
    *(256, 256, 256, 256, "pool"),
    *(512, 512, 512, 512, "pool"),
    *(512, 512, 512, 512),
)

Convolutions = list[tuple[Tensor, Tensor]]
"""Kernels (out, in, 3, 3) and biases (out,) of the 16 convolutions."""


@dataclass(frozen=True)
class VGG19Weights:
    """Weights and the input that they expect.

    Attributes
    ----------
    convolutions : list of (Tensor, Tensor)
    scale, mean, std : float and tuples of float
        An image in [0, 1] is fed as `(image * scale - mean) / std`.
    source : str
        The file.
    """

    convolutions: Convolutions
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


class VGG19(nn.Module):
    """The feature maps of relu5_4 for images in [0, 1]; frozen.

    Parameters
    ----------
    weights : VGG19Weights
    pooling : str
        "same": a size that is odd is rounded up, 100 -> 50 -> 25 -> 13 -> 7, as in the authors'
        code. "floor": rounded down, 100 -> 50 -> 25 -> 12 -> 6, as in torchvision.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: VGG19Weights, pooling: str = "same") -> None:
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
