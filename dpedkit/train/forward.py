"""The generator's forward pass as training runs it: the same function, faster arithmetic."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from dpedkit.models.generator import Generator
from dpedkit.models.layers import ConvLayer, ResidualBlock, activate
from dpedkit.train.fused import instance_norm_relu, thin_convolution

_THIN, _LARGE_KERNEL = 4, 5  # output channels, taps: where `thin_convolution` is the faster way


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
    """`layer(x)`, in another form where that is the faster way to the same values."""
    if isinstance(layer, ResidualBlock):
        return _apply(layer.second, _apply(layer.first, x)) + x
    assert isinstance(layer, ConvLayer)
    exact = not torch.is_autocast_enabled(x.device.type)
    if x.device.type != "cpu" or not exact or torch.compiler.is_compiling():
        return layer(x)
    conv, norm = layer.conv, layer.norm
    if norm is None and conv.out_channels <= _THIN and conv.kernel_size[0] >= _LARGE_KERNEL:
        assert conv.bias is not None
        return activate(thin_convolution(x, conv.weight, conv.bias), layer.activation)
    if isinstance(norm, nn.InstanceNorm2d) and layer.activation == "relu":
        return instance_norm_relu(conv(x), norm.weight, norm.bias, norm.eps)
    return layer(x)
