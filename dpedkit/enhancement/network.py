"""A trained network, ready to enhance images of any size in strips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.core.device import beside, choose_device, full_float32
from dpedkit.core.errors import UsageError
from dpedkit.enhancement.config import EnhanceConfig
from dpedkit.enhancement.storage import Placement
from dpedkit.enhancement.tiling import apply_in_strips, count_strips
from dpedkit.images import make_thumbnail
from dpedkit.models.files import load_model
from dpedkit.models.generator import Generator
from dpedkit.models.photo_aware import PhotoAware
from dpedkit.photomap import PhotoGuide

_BAND_ROWS = 256  # a multiple of any block size that networks gather pixels by
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Enhancer:
    """A network on its device.

    Attributes
    ----------
    model : Generator
        In evaluation mode.
    placement : Placement
    """

    model: Generator
    placement: Placement

    def __call__(
        self, image: NDArray[np.uint8], on_strip: Callable[[], None] = lambda: None
    ) -> NDArray[np.uint8]:
        """Enhance one image; (H, W, 3) uint8 in and out."""
        with torch.inference_mode(), full_float32:
            photo = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float().div_(255)
            guide = None
            if isinstance(self.model, PhotoAware):
                guide = self.model.guide(make_thumbnail(image))
            return to_levels(enhance_photo(self.model, photo, self.placement, on_strip, guide))

    def strips(self, height: int, width: int) -> int:
        """How many strips an image of this size takes."""
        with torch.inference_mode():
            probe = torch.zeros(1, 3, 16, 16, device=self.placement.device)
            step = 16 // self.model.prepare(probe).shape[2]
        size = -(-height // step), -(-width // step)
        return count_strips(self.model.layers, *size, self.placement.strip_pixels)


def enhance_photo(
    model: Generator,
    photo: Tensor,
    placement: Placement,
    on_strip: Callable[[], None] = lambda: None,
    guide: PhotoGuide | None = None,
) -> Tensor:
    """What `model(photo)` gives, in bounded memory.

    Parameters
    ----------
    model : Generator
        On `placement.device`, in evaluation mode. Its `prepare` and `finish` treat blocks of
        pixels independently, so they are applied to bands of rows.
    photo : (1, 3, H, W) tensor of float32
        In [0, 1], in main memory, like the result.
    placement : Placement
    on_strip : callable
        Called after each strip.
    guide : PhotoGuide, optional
        For a photo-aware model, what makes the planes that it takes beside those of the photo.

    Returns
    -------
    (1, 3, H, W) tensor of float32
    """
    height, width = photo.shape[2:]
    tops = range(0, height, _BAND_ROWS)

    def band_from(top: int) -> Tensor:
        band = photo[:, :, top : top + _BAND_ROWS].to(placement.device)
        if guide is None:
            return band
        planes = guide.rows(top, top + band.shape[2], width, height)
        return beside(band, planes[None])

    prepared = [model.prepare(band_from(top)).cpu() for top in tops]
    rows = [band.shape[2] for band in prepared]
    maps = apply_in_strips(model.layers, torch.cat(prepared, dim=2), placement, on_strip)
    finished = [
        model.finish(part.to(placement.device), band_from(top)).cpu()
        for part, top in zip(maps.split(rows, dim=2), tops, strict=True)
    ]
    return torch.cat(finished, dim=2)


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
        If the device is not there, or the precision does not suit it.
    """
    device = choose_device(config.device)
    if device.type == "cpu" and config.precision == "fp16":
        raise UsageError("precision is 'fp16', which is fast only on GPUs; use fp32 or bf16.")
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
    return Enhancer(model, placement)
