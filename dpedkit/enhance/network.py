"""A trained network, ready to enhance images of any size in strips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpedkit.enhance.config import EnhanceConfig
from dpedkit.enhance.tiling import Placement, apply_in_strips, count_strips
from dpedkit.errors import DpedkitError, UsageError
from dpedkit.models.files import load_model

MODEL_NAME = "model.safetensors"
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Enhancer:
    """A network on its device.

    Attributes
    ----------
    layers : sequence of nn.Module
        The network's layers, in evaluation mode.
    placement : Placement
    """

    layers: Sequence[nn.Module]
    placement: Placement

    def __call__(
        self, image: NDArray[np.uint8], on_strip: Callable[[], None] = lambda: None
    ) -> NDArray[np.uint8]:
        """Enhance one image; (H, W, 3) uint8 in and out."""
        return enhance_image(self.layers, image, self.placement, on_strip)

    def strips(self, height: int, width: int) -> int:
        """How many strips an image of this size takes."""
        return count_strips(self.layers, height, width, self.placement.strip_pixels)


def enhance_image(
    layers: Sequence[nn.Module],
    image: NDArray[np.uint8],
    placement: Placement,
    on_strip: Callable[[], None] = lambda: None,
) -> NDArray[np.uint8]:
    """Enhance one image of any size.

    Parameters
    ----------
    layers : sequence of nn.Module
        Those of a generator, in evaluation mode.
    image : (H, W, 3) array of uint8
    placement : Placement
    on_strip : callable
        Called after each strip.

    Returns
    -------
    (H, W, 3) array of uint8
    """
    with torch.inference_mode():
        photo = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        enhanced = apply_in_strips(layers, photo.float().div_(255), placement, on_strip)
        return to_levels(enhanced)


def to_levels(photo: Tensor) -> NDArray[np.uint8]:
    """A (1, 3, H, W) photo in [0, 1], clipped and rounded to (H, W, 3) uint8."""
    levels = photo[0].clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())


def load_enhancer(model_file: Path, config: EnhanceConfig, spill_folder: Path) -> Enhancer:
    """Load a network for the device and precision of `config`.

    Raises
    ------
    DpedkitError
        If the file is not a model.
    UsageError
        If there is no GPU but one is asked for, or the precision does not suit the device.
    """
    device = _device(config)
    model = load_model(model_file)
    # Channels last is the layout in which maps are stored, and twice as fast on CPUs.
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    placement = Placement(
        device=device,
        dtype=_PRECISIONS[config.precision],
        strip_pixels=round(config.strip_megapixels * 1e6),
        memory=round(config.memory * 1e9),
        spill_folder=spill_folder,
    )
    return Enhancer(list(model.layers), placement)


def model_file_of(path: Path) -> Path:
    """The model file that a user means: the file itself, or that in the folder of a run.

    Raises
    ------
    DpedkitError
        If the folder holds no model.
    """
    if not path.is_dir():
        return path
    file = path / MODEL_NAME
    if not file.exists():
        raise DpedkitError(
            f"{path} holds no {MODEL_NAME}; give a model file or the folder of a run."
        )
    return file


def _device(config: EnhanceConfig) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise UsageError("device is 'cuda', but torch finds no GPU; leave it at 'auto'.")
    if config.device == "cpu" or not has_gpu:
        if config.precision == "fp16":
            raise UsageError("precision is 'fp16', which only GPUs compute; use fp32 or bf16.")
        return torch.device("cpu")
    return torch.device("cuda")
