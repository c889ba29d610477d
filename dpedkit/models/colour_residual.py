"""A small network that starts from the global colour map; not in the paper.

A cubic colour polynomial, fitted to the train split, makes most of the improvement. The network
adds what the polynomial cannot: detail, and colours that depend on the surroundings of a pixel. Its
last layer starts at zero, so the first output is the polynomial's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpedkit.colourmap import EXPONENTS, ColourMap
from dpedkit.models.generator import Generator
from dpedkit.models.layers import ConvLayer, ResidualBlock

FOLD = 2  # px across and down that one position of the layers stands for
CENTRE = 0.5  # of the colours that the layers are fed
_PIXELS_AT_ONCE = 1 << 20  # bounds the memory of the monomials to 80 MB


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

    step = FOLD
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

    def prepare(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> (N, 24, ceil(H / 2), ceil(W / 2)), near zero; and mapped colours."""
        mapped = self.map_colours(photo)
        return fold(photo[:, :3], mapped), mapped

    def finish(self, maps: Tensor, base: Tensor) -> Tensor:
        """Add (N, 12, ceil(H / 2), ceil(W / 2)) to mapped colours (N, 3, H, W), in about [0, 1]."""
        residual = functional.pixel_shuffle(maps.to(base.dtype), FOLD)
        return base + residual[:, :, : base.shape[2], : base.shape[3]]

    def map_colours(self, photo: Tensor) -> Tensor:
        """Apply the polynomial: (N, 3, H, W) -> (N, 3, H, W), in float32 also under autocast."""
        if torch.is_autocast_enabled(photo.device.type):
            # The 8 significant bits of bfloat16 are fewer than a photo's levels need.
            with torch.autocast(photo.device.type, enabled=False):
                return self.map_colours(photo.float())
        pixels = photo.transpose(0, 1).reshape(3, -1)  # (3, M)
        # An exported graph has no loop whose length depends on the photo's size.
        whole = torch.compiler.is_compiling()
        blocks = [pixels] if whole else pixels.split(_PIXELS_AT_ONCE, dim=1)
        mapped = torch.cat([self.colour_map.T @ monomials(block) for block in blocks], dim=1)
        return mapped.view(3, len(photo), *photo.shape[2:]).transpose(0, 1)


def fold(photo: Tensor, mapped: Tensor) -> Tensor:
    """Both versions of a photo at half the resolution: twice (N, 3, H, W) -> (N, 24, H/2, W/2)."""
    both = torch.cat([photo, mapped], dim=1) - CENTRE
    height, width = photo.shape[-2:]
    # Padded and cropped whether that is needed or not: an exported graph has no branches on sizes.
    even = functional.pad(both, (0, 1, 0, 1), mode="replicate")
    even = even[:, :, : (height + 1) // 2 * 2, : (width + 1) // 2 * 2]
    return functional.pixel_unshuffle(even, FOLD)


def monomials(pixels: Tensor) -> Tensor:
    """The products of powers of R, G and B: (3, M) -> (20, M)."""
    terms = []
    for exponents in EXPONENTS:
        term = torch.ones_like(pixels[0])
        for channel, exponent in zip(pixels, exponents, strict=True):
            for _ in range(exponent):
                term = term * channel
        terms.append(term)
    return torch.stack(terms)


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
    if conv.weight.is_meta:  # there is nothing to draw, for which PyTorch would load its compiler
        return
    nn.init.normal_(conv.weight, std=(gain / fan_in) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
