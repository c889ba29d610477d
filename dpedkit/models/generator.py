"""The plain convolutional generators: the paper's resnet-12-64, resnet-8-32, and SRCNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dpedkit.models.layers import ConvLayer, ResidualBlock


class Generator(nn.Module):
    """A straight sequence of layers from a phone photo to an enhanced one.

    Every generator computes `finish(layers(maps), base)` with `maps, base = prepare(photo)`. Here
    the outer two do nothing; a subclass may override them. They must cost little compared with the
    layers, and give the same for a part of the photo as for the whole: photos are enhanced in
    strips of whole rows that begin at multiples of `step`.

    Attributes
    ----------
    layers : nn.Sequential of ConvLayer and ResidualBlock
        Applied in order.
    architecture : str
        The name under which `build_generator` makes it again.
    options : dict
        The options that `build_generator` needs for that.
    card : dict
        What its model file says of it; empty for a generator that comes from no file.
    step : int
        Pixels across and down that one position of the layers stands for.
    """

    step = 1

    def __init__(
        self, architecture: str, layers: Sequence[ConvLayer | ResidualBlock], **options: Any
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.options = options
        self.card: dict[str, Any] = {}
        self.layers = nn.Sequential(*layers)

    def forward(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1] -> the same shape, in (-0.08, 1.08)."""
        maps, base = self.prepare(photo)
        return self.finish(self.layers(maps), base)

    @property
    def reach(self) -> int:
        """How many pixels around a pixel its result depends on, without instance norm."""
        return self.step * sum(int(layer.reach) for layer in self.layers)  # type: ignore[arg-type, misc]

    def prepare(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """What the first layer is fed, and what `finish` needs beside the last layer's output.

        Parameters
        ----------
        photo : (N, 3, H, W) tensor

        Returns
        -------
        maps : (N, C, H', W') tensor
        base : (N, 3, H, W) tensor
        """
        return photo, photo

    def finish(self, maps: Tensor, base: Tensor) -> Tensor:
        """The enhanced photo from the last layer's output: (N, C', H', W') -> (N, 3, H, W)."""
        return maps


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
