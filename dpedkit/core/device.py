"""The device that networks are computed on, its arithmetic, and moving images to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.core.errors import UsageError
from dpedkit.core.process import SharedChange


def choose_device(wanted: str) -> torch.device:
    """The device of a `device` setting.

    Raises
    ------
    UsageError
        If it is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[wanted]:
        raise UsageError(f"device is '{wanted}', but torch finds no such device here; use 'auto'.")
    return torch.device(wanted)


def let_convolutions_round(allowed: bool) -> None:
    """Let a GPU round the inputs of convolutions to 10 bits (TF32), or not; in the whole process.

    Those of matrix products it never may. The blurs of the losses and of MS-SSIM are such products,
    and of a variance, the small difference of two large means, that rounding leaves nothing.
    """
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = False


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Run convolutions and matrix products in bfloat16, if that is the precision."""
    enabled = precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@contextmanager
def arithmetic_restored() -> Iterator[None]:
    """Leave torch's choices of arithmetic and of kernels at the end of the block as they were."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32 = before


@contextmanager
def _unrounded() -> Iterator[None]:
    with arithmetic_restored():
        let_convolutions_round(False)
        yield


full_float32 = SharedChange(_unrounded)
"""Convolutions and matrix products of float32 computed with all of its bits, on a GPU too."""


def beside(images: Tensor, planes: NDArray[np.float32]) -> Tensor:
    """Images (N, 3, H, W) with further planes (N, C, H, W) beside theirs: (N, 3 + C, H, W)."""
    return torch.cat([images, torch.from_numpy(planes).to(images.device)], dim=1)


def to_images(levels: NDArray[np.uint8] | Tensor, device: torch.device) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [0, 1], in channels-last memory."""
    return torch.as_tensor(levels).to(device).permute(0, 3, 1, 2).float().div_(255)
