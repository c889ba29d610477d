"""The two building blocks of every plain convolutional generator.

Such a generator is a straight sequence of `ConvLayer` and `ResidualBlock`. Whoever computes a
photo piece by piece walks that sequence: a `ConvLayer` is convolution, then normalisation, then
activation; only `InstanceNorm2d` needs to know the whole image.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dpedkit.core.errors import UsageError

NORMS = ("batch", "instance", "none")
NORM_EPS = 1e-3  # under the root, as in the authors' code
TANH_GAIN, TANH_OFFSET = 0.58, 0.5
_INITIAL_WEIGHT_STD, _INITIAL_BIAS = 0.01, 0.01  # the authors' code; the paper is silent


class ConvLayer(nn.Module):
    """Convolution with zero padding that keeps the size, then norm, then activation.

    Attributes
    ----------
    conv : nn.Conv2d
        Stride 1, odd kernel.
    norm : nn.BatchNorm2d, nn.InstanceNorm2d or None
        Instance norm takes mean and biased variance over the whole image, per channel.
    activation : str
        "relu", "tanh" (scaled: 0.58 tanh(x) + 0.5) or "none".
    reach : int
        How many pixels to each side an output pixel depends on (without instance norm).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, norm: str = "none", activation: str
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = build_norm(norm, outputs)
        self.activation = activation
        self.reach = kernel // 2
        start_small(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return activate(x, self.activation)


class ResidualBlock(nn.Module):
    """Two 3x3 layers around which the input is carried.

    Attributes
    ----------
    first, second : ConvLayer
        The block computes `second(first(x)) + x`. In the authors' networks the second has a ReLU
        too, before the sum.
    """

    def __init__(self, channels: int, norm: str, last_activation: str = "relu") -> None:
        super().__init__()
        self.first = ConvLayer(channels, channels, 3, norm=norm, activation="relu")
        self.second = ConvLayer(channels, channels, 3, norm=norm, activation=last_activation)
        self.reach = self.first.reach + self.second.reach

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.second(self.first(x)) + x


def activate(x: Tensor, activation: str) -> Tensor:
    """Apply one of the activations of `ConvLayer`."""
    if activation == "relu":
        return functional.relu(x)
    if activation == "tanh":
        return TANH_GAIN * x.tanh() + TANH_OFFSET
    return x


def build_norm(norm: str, channels: int) -> nn.BatchNorm2d | nn.InstanceNorm2d | None:
    """Batch norm (the paper's text), instance norm (the authors' code), or none."""
    if norm == "batch":
        return nn.BatchNorm2d(channels, eps=NORM_EPS)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, eps=NORM_EPS, affine=True)
    if norm == "none":
        return None
    raise UsageError(f"norm is {norm!r}, but must be one of: {', '.join(NORMS)}.")


def start_small(layer: nn.Conv2d | nn.Linear) -> None:
    """Initial weights as in the authors' code: normal, cut off at two deviations; bias 0.01."""
    if layer.weight.is_meta:  # there is nothing to draw, for which PyTorch would load its compiler
        return
    cut = 2 * _INITIAL_WEIGHT_STD
    nn.init.trunc_normal_(layer.weight, std=_INITIAL_WEIGHT_STD, a=-cut, b=cut)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, _INITIAL_BIAS)
