"""Layers of a generator in the form that is fastest on a CPU, for maps in channels-last memory.

PyTorch's instance norm wants channels first: on a CPU, every layer would copy its maps there and
back, in a step whose convolutions are fastest in channels-last memory. And its convolutions compute
16 channels at once, of which a layer that makes three throws away thirteen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpedkit.models.layers import ConvLayer, ResidualBlock, activate

_THIN, _LARGE_KERNEL = 4, 5  # output channels, taps: where `thin_convolution` is the faster way


def apply_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)`, in another form where that is the faster way to the same values.

    Parameters
    ----------
    layer : ConvLayer or ResidualBlock
    x : (N, C, H, W) tensor
    """
    if isinstance(layer, ResidualBlock):
        return apply_layer(layer.second, apply_layer(layer.first, x)) + x
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


def instance_norm_relu(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """`relu(instance_norm(x))` with the biased variance, differentiable once.

    Parameters
    ----------
    x : (N, C, H, W) float32 tensor
        In channels-last memory, as the result is.
    weight, bias : (C,) tensor
    eps : float
        Under the root.
    """
    normed: Tensor = _InstanceNormRelu.apply(x, weight, bias, eps)
    return normed


def thin_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution with few outputs, stride 1 and zero padding that keeps the size.

    Parameters
    ----------
    x : (N, C, H, W) float32 tensor
        In channels-last memory, as the result is.
    weight : (O, C, K, K) tensor
        K is odd.
    bias : (O,) tensor

    Notes
    -----
    Each column of the kernel is a convolution by itself: all of them together have K * O outputs,
    which are then shifted against each other and added.
    """
    result: Tensor = _ThinConvolution.apply(x, weight, bias)
    return result


class _ThinConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        outputs, inputs, size, _ = weight.shape
        columns = weight.permute(3, 0, 1, 2).reshape(size * outputs, inputs, size, 1)
        columns = columns.contiguous(memory_format=torch.channels_last)
        maps = functional.conv2d(x, columns, padding=size // 2)  # (N, K * O, H, W + K - 1)
        width = x.shape[3]
        result = bias[:, None, None] + maps[:, :outputs, :, :width]
        for column in range(1, size):
            channels = slice(column * outputs, (column + 1) * outputs)
            result += maps[:, channels, :, column : column + width]
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        reach = [weight.shape[-1] // 2] * 2
        return torch.ops.aten.convolution_backward(
            *(gradients[0], x, weight, [len(weight)]),
            *([1, 1], reach, [1, 1], False, [0, 0], 1),
            list(ctx.needs_input_grad),
        )


class _InstanceNormRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        pixels = _as_pixels(x)  # (N, H*W, C)
        count = pixels.shape[1]
        centred = pixels - pixels.sum(1, keepdim=True) / count
        variance = (centred * centred).sum(1, keepdim=True) / count
        inverse_std = (variance + eps).rsqrt()  # (N, 1, C)
        normed = centred.mul_(inverse_std)
        y = torch.addcmul(bias, normed, weight).relu_()
        ctx.save_for_backward(normed, inverse_std, weight, y)
        return _as_images(y, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normed, inverse_std, weight, y = ctx.saved_tensors
        (gradient,) = gradients
        past_relu = torch.ops.aten.threshold_backward(_as_pixels(gradient), y, 0)
        to_bias = past_relu.sum(1, keepdim=True)  # (N, 1, C)
        to_weight = (past_relu * normed).sum(1, keepdim=True)
        # d/dx of (x - mean(x)) / std(x): what moves the mean or the spread is taken out again.
        scale = inverse_std * weight
        count = y.shape[1]
        to_x = torch.addcmul(-scale * to_bias / count, normed, -scale * to_weight / count)
        to_x.addcmul_(past_relu, scale)
        return _as_images(to_x, gradient), to_weight.sum((0, 1)), to_bias.sum((0, 1)), None


def _as_pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H*W, C), without a copy from channels-last memory."""
    return images.permute(0, 2, 3, 1).flatten(1, 2)


def _as_images(pixels: Tensor, like: Tensor) -> Tensor:
    """(N, H*W, C) -> (N, C, H, W) in channels-last memory."""
    count, channels, height, width = like.shape
    return pixels.view(count, height, width, channels).permute(0, 3, 1, 2)
