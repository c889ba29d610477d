"""The plain convolutional generators: the paper's resnet-12-64, resnet-8-32, and SRCNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dpedkit.models.layers import ConvLayer, ResidualBlock


class Generator(nn.Module):
    """A straight sequence of layers from a phone photo to an enhanced one.

    Attributes
    ----------
    layers : nn.Sequential of ConvLayer and ResidualBlock
        Applied in order; there is nothing else in the network.
    architecture : str
        The name under which `build_generator` makes it again.
    options : dict
        The options that `build_generator` needs for that.
    """

    def __init__(
        self, architecture: str, layers: Sequence[ConvLayer | ResidualBlock], **options: Any
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.options = options
        self.layers = nn.Sequential(*layers)

    def forward(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1] -> the same shape, in (-0.08, 1.08)."""
        return self.layers(photo)


def resnet(architecture: str, blocks: int, channels: int, norm: str) -> Generator:
    """9x9, residual blocks of two 3x3, two 3x3, 9x9 (paper, section III-B).

    The number of convolutions and of channels names the network: four blocks of 64 channels are
    resnet-12-64. Norm is inside the residual blocks only.
    """
    return Generator(
        architecture,
        [
            ConvLayer(3, channels, 9, activation="relu"),
            *(ResidualBlock(channels, norm) for _ in range(blocks)),
            ConvLayer(channels, channels, 3, activation="relu"),
            ConvLayer(channels, channels, 3, activation="relu"),
            ConvLayer(channels, 3, 9, activation="tanh"),
        ],
        norm=norm,
    )


def srcnn() -> Generator:
    """9-5-5 with 64 and 32 channels (Dong et al., 2014), as in the authors' challenge code."""
    return Generator(
        "srcnn",
        [
            ConvLayer(3, 64, 9, activation="relu"),
            ConvLayer(64, 32, 5, activation="relu"),
            ConvLayer(32, 3, 5, activation="tanh"),
        ],
    )
