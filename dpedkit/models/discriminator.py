"""The discriminator: did a DSLR take this picture? (paper, section III-B)"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpedkit.models.layers import build_norm, start_small

PATCH_SIZE = 100  # px, in the paper
_LEAK = 0.2
_LUMA = (0.2989, 0.5870, 0.1140)  # tf.image.rgb_to_grayscale
# Output channels, kernel, stride of the five convolutions.
_CONVOLUTIONS = ((48, 11, 4), (128, 5, 2), (192, 3, 1), (192, 3, 1), (128, 3, 2))
_FEATURES = 1024


class Discriminator(nn.Module):
    """Five convolutions, a hidden layer of 1024, and one or two outputs; greyscale input.

    Parameters
    ----------
    norm : str
        "batch" (the paper's text), "instance" (the authors' code) or "none".
    norm_first : bool
        Whether the first convolution is normalised too. The paper says each is; the authors'
        code leaves out the first.
    outputs : int
        1: a sigmoid gives the probability (paper). 2: a softmax over (phone, DSLR) does (authors'
        code).
    patch_size : int
        Side of the pictures in px, which the fully connected layer fixes.
    """

    def __init__(
        self,
        norm: str = "batch",
        *,
        norm_first: bool = True,
        outputs: int = 1,
        patch_size: int = PATCH_SIZE,
    ) -> None:
        super().__init__()
        stages = []
        inputs, size = 1, patch_size
        for index, (channels, kernel, stride) in enumerate(_CONVOLUTIONS):
            stage_norm = norm if index > 0 or norm_first else "none"
            stages.append(_Stage(inputs, channels, kernel, stride, stage_norm))
            inputs, size = channels, -(-size // stride)
        self.stages = nn.Sequential(*stages)
        self.hidden = nn.Linear(inputs * size * size, _FEATURES)
        self.output = nn.Linear(_FEATURES, outputs)
        start_small(self.hidden)
        start_small(self.output)

    def forward(self, image: Tensor) -> Tensor:
        """Log-odds that a DSLR took the picture: `sigmoid` of it is the probability.

        Parameters
        ----------
        image : (N, 1, S, S) tensor
            Greyscale in [0, 1]; S is the patch size.

        Returns
        -------
        (N,) tensor
        """
        x = self.stages(image)  # (N, 128, 7, 7) for patches of 100 px
        x = x.permute(0, 2, 3, 1).flatten(1)  # (N, H*W*C), the authors' order
        x = functional.leaky_relu(self.hidden(x), _LEAK)
        with torch.autocast(x.device.type, enabled=False):  # 8 bits are too few for a verdict
            logits = self.output(x.to(self.output.weight.dtype))
        if logits.shape[1] == 1:
            return logits[:, 0]
        # softmax(a, b)[1] = sigmoid(b - a)
        return logits[:, 1] - logits[:, 0]


class _Stage(nn.Module):
    """Strided convolution, LeakyReLU, then norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, norm: str) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride)
        start_small(self.conv)
        self.norm = build_norm(norm, outputs) or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(_pad_same(x, self.kernel, self.stride))
        return self.norm(functional.leaky_relu(x, _LEAK))


def to_grey(image: Tensor) -> Tensor:
    """Luma of an RGB image: (N, 3, H, W) -> (N, 1, H, W)."""
    red, green, blue = image.split(1, dim=1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding as TensorFlow's SAME: ceil(size / stride) outputs, the odd pixel at the end."""
    before_after = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before_after += [total // 2, total - total // 2]
    return functional.pad(x, before_after)
