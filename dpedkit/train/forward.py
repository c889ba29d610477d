"""The generator's forward pass as training runs it: the same function, faster arithmetic."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from dpedkit.models.generator import Generator
from dpedkit.models.layers import ConvLayer, ResidualBlock
from dpedkit.train.fused import instance_norm_relu


class TrainingForward(nn.Module):
    """A generator whose inner layers may run in bfloat16.

    The first and the last layer stay in float32, where rounding to 8 bits would be seen: they read
    and make the pixels. Norms take their statistics in float32 in any case.

    Parameters
    ----------
    generator : Generator
        Shared, not copied.
    precision : str
        "float32", "tf32" or "bfloat16", of `TrainConfig`.
    """

    def __init__(self, generator: Generator, precision: str) -> None:
        super().__init__()
        self.generator, self.precision = generator, precision

    def forward(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1] -> the same shape, float32."""
        first, *middle, last = self.generator.layers
        x = _apply(first, self.generator.prepare(photo))
        with lower_precision(self.precision, photo.device):
            for layer in middle:
                x = _apply(layer, x)
        return self.generator.finish(_apply(last, x.float()), photo)


def lower_precision(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Run convolutions and matrix products in bfloat16, if that is the precision."""
    enabled = precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def _apply(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)`, through the fused norm where that is the faster way to the same values."""
    if isinstance(layer, ResidualBlock):
        return _apply(layer.second, _apply(layer.first, x)) + x
    assert isinstance(layer, ConvLayer)
    norm = layer.norm
    if not isinstance(norm, nn.InstanceNorm2d) or layer.activation != "relu":
        return layer(x)
    maps = layer.conv(x)
    if maps.device.type != "cpu" or maps.dtype != torch.float32:
        return torch.relu(norm(maps))
    return instance_norm_relu(maps, norm.weight, norm.bias, norm.eps)
