"""A small network that starts where the global colour map ends; not in the paper.

A cubic colour polynomial, fitted to the train split, does most of what a photo needs. The network
adds what it cannot: details, and colours that depend on what is around a pixel. Its last layer
starts at zero, so the first output is the polynomial's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpedkit.colourmap import EXPONENTS, ColourMap
from dpedkit.models.generator import Generator
from dpedkit.models.layers import ConvLayer, ResidualBlock


class ColourResidual(Generator):
    """Colour polynomial plus residual blocks at half the resolution.

    Parameters
    ----------
    channels, blocks : int
        Width and number of the residual blocks.

    Attributes
    ----------
    colour_map : (20, 3) buffer of float32
        Coefficients of the polynomial; the identity until `set_colour_map`.
    """

    colour_map: Tensor

    def __init__(self, channels: int = 32, blocks: int = 3) -> None:
        # Both versions of the photo, each pixel's 2x2 neighbourhood as channels: a quarter of
        # the positions, twice the field of view.
        layers: list[ConvLayer | ResidualBlock] = [
            ConvLayer(2 * 3 * 4, channels, 3, activation="none"),
            *(ResidualBlock(channels, "none", last_activation="none") for _ in range(blocks)),
            ConvLayer(channels, 3 * 4, 3, activation="none"),
        ]
        super().__init__("colour-residual", layers, channels=channels, blocks=blocks)
        self.register_buffer("colour_map", torch.empty(len(EXPONENTS), 3))
        self.set_colour_map(ColourMap.identity())
        _start_at_colour_map(layers)

    def set_colour_map(self, colour_map: ColourMap) -> None:
        """Take over a fitted polynomial."""
        self.colour_map.copy_(torch.from_numpy(colour_map.coefficients))

    def prepare(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 24, ceil(H / 2), ceil(W / 2)), centred on zero."""
        both = torch.cat([photo, self.map_colours(photo)], dim=1) - 0.5
        height, width = photo.shape[-2:]
        if height % 2 or width % 2:
            both = functional.pad(both, (0, width % 2, 0, height % 2), mode="replicate")
        return functional.pixel_unshuffle(both, 2)

    def finish(self, maps: Tensor, photo: Tensor) -> Tensor:
        """(N, 12, ceil(H / 2), ceil(W / 2)) -> (N, 3, H, W), in about [0, 1]."""
        residual = functional.pixel_shuffle(maps, 2)
        return self.map_colours(photo) + residual[:, :, : photo.shape[2], : photo.shape[3]]

    def map_colours(self, photo: Tensor) -> Tensor:
        """Apply the polynomial: (N, 3, H, W) -> (N, 3, H, W)."""
        powers = [[None, x, x * x, x * x * x] for x in photo.unbind(dim=1)]
        mapped = torch.zeros_like(photo)
        for exponents, row in zip(EXPONENTS, self.colour_map, strict=True):
            term = torch.ones_like(photo[:, 0])
            for channel, exponent in enumerate(exponents):
                factor = powers[channel][exponent]
                if factor is not None:
                    term = term * factor
            mapped = mapped + term[:, None] * row[:, None, None]
        return mapped


def _start_at_colour_map(layers: list[ConvLayer | ResidualBlock]) -> None:
    """Weights for training from the identity: no block and no output contributes at first."""
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            _start(layer.first.conv, gain=2.0)
            _start(layer.second.conv, gain=0.0)
        else:
            _start(layer.conv, gain=0.0 if layer is layers[-1] else 1.0)


def _start(conv: nn.Conv2d, gain: float) -> None:
    """Weights that multiply the variance of their input by `gain` (He et al., 2015: 2 for ReLU)."""
    fan_in = conv.weight[0].numel()
    nn.init.normal_(conv.weight, std=(gain / fan_in) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
