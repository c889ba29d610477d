"""A perceptual distance: how far apart the features are that VGG-19 finds in two photos.

It is the mean squared difference of the features of relu5_4, on which the paper's content loss is
built. It is not LPIPS, which weighs the features of five layers as learnt from human judgements.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from dpedkit.models.vgg import VGG19
from dpedkit.models.vgg_files import read_weights
from dpedkit.models.vgg_places import find_weights

_SIDE = 224  # px: what VGG-19 was trained on
_SQUARES = 4  # of a photo: more of them take long, and say nearly the same
_COUNTED = 0.95  # of a square's pixels, at least


@dataclass(frozen=True)
class PerceptualDistance:
    """VGG-19 on its device.

    Attributes
    ----------
    network : VGG19
    weights : Path
        The file of its weights.
    """

    network: VGG19
    weights: Path

    @classmethod
    def if_installed(cls, device: torch.device) -> Self | None:
        """With the weights that are there; nothing is downloaded. None if there are none."""
        weights = find_weights(None, download=False)
        if weights is None:
            return None
        return cls(VGG19(read_weights(weights), pooling="floor").to(device).eval(), weights)

    def features(
        self, photo: NDArray[np.uint8], squares: list[tuple[int, int]]
    ) -> torch.Tensor | None:
        """Features (n, 512, 14, 14) of the squares with these corners `(x, y)`; None without."""
        if not squares:
            return None
        cut = np.stack([photo[y : y + _SIDE, x : x + _SIDE] for x, y in squares])
        images = torch.from_numpy(cut).to(self.network.mean.device).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            found: torch.Tensor = self.network(images / 255)
        return found


def squared_distance(a: torch.Tensor | None, b: torch.Tensor | None) -> float | None:
    """Mean squared difference of two photos' features; None where there are none."""
    return None if a is None or b is None else float((a - b).square().mean().item())


def squares_to_compare(counts: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Corners `(x, y)` of squares of `_SIDE` px, apart from each other, whose pixels count.

    Parameters
    ----------
    counts : (H, W) bool
    """
    height, width = counts.shape
    rows, columns = height // _SIDE, width // _SIDE
    if not rows or not columns:
        return []
    # Centred, so that the border that is left over is the same on both sides.
    top, left = (height - rows * _SIDE) // 2, (width - columns * _SIDE) // 2
    inner = counts[top : top + rows * _SIDE, left : left + columns * _SIDE]
    shares = inner.reshape(rows, _SIDE, columns, _SIDE).mean(axis=(1, 3))
    fit = np.argwhere(shares >= _COUNTED)
    if not len(fit):
        return []
    spread = np.linspace(0, len(fit) - 1, min(_SQUARES, len(fit))).round().astype(int)
    return [(left + column * _SIDE, top + row * _SIDE) for row, column in fit[spread].tolist()]
