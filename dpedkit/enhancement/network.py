"""A trained network, ready to enhance images of any size in strips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.core.device import choose_device, full_float32
from dpedkit.core.errors import UsageError
from dpedkit.enhancement.colours import (
    ColoursAround,
    ReadPhoto,
    colours_of,
    count_bands,
    map_photo,
    maps_as_photo_colours,
)
from dpedkit.enhancement.config import EnhanceConfig
from dpedkit.enhancement.storage import Placement
from dpedkit.enhancement.tiling import apply_in_strips, count_strips
from dpedkit.images import make_thumbnail
from dpedkit.models.colour_residual import ColourResidual
from dpedkit.models.files import load_model
from dpedkit.models.generator import Generator
from dpedkit.models.photo_aware import PhotoAware
from dpedkit.photomap import PhotoGuide

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Enhancer:
    """A network on its device.

    Attributes
    ----------
    model : Generator
        In evaluation mode.
    placement : Placement
    colours_only : bool
        Apply only the colour map of a network that has one.
    """

    model: Generator
    placement: Placement
    colours_only: bool = False

    def __call__(
        self, image: NDArray[np.uint8], on_strip: Callable[[], None] = lambda: None
    ) -> NDArray[np.uint8]:
        """Enhance one image; (H, W, 3) uint8 in and out."""
        height, width = image.shape[:2]
        guide = None
        if isinstance(self.model, PhotoAware):
            guide = self.model.guide(make_thumbnail(image))
        if self.colours_only:
            assert isinstance(self.model, ColourResidual)
            return map_photo(colours_of(self.model, (width, height), guide), image, on_strip)

        def read(top: int, bottom: int) -> Tensor:
            planes = np.empty((1, 3, bottom - top, width), np.float32)
            np.divide(image[top:bottom].transpose(2, 0, 1), np.float32(255), out=planes[0])
            return torch.from_numpy(planes)

        enhanced = np.empty_like(image)
        done = 0
        with torch.inference_mode(), full_float32:
            strips = _strips(self.model, read, (height, width), self.placement, on_strip, guide)
            for strip in strips:
                rows = strip.shape[2]
                to_levels(strip, out=enhanced[done : done + rows])
                done += rows
        return enhanced

    def strips(self, height: int, width: int) -> int:
        """How many strips an image of this size takes."""
        if self.colours_only:
            return count_bands(height)
        size = _size_of_maps(self.model, height, width)
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
        On `placement.device`, in evaluation mode.
    photo : (1, 3, H, W) tensor of float32
        In [0, 1], in main memory, like the result.
    placement : Placement
    on_strip : callable
        Called after each strip.
    guide : PhotoGuide, optional
        For a photo-aware model, what it goes by; without it, one colour map serves all photos.

    Returns
    -------
    (1, 3, H, W) tensor of float32
    """
    height, width = photo.shape[2:]

    def read(top: int, bottom: int) -> Tensor:
        return photo[:, :, top:bottom]

    strips = _strips(model, read, (height, width), placement, on_strip, guide)
    return torch.cat([strip.clone() for strip in strips], dim=2)


def _strips(
    model: Generator,
    read: ReadPhoto,
    size: tuple[int, int],
    placement: Placement,
    on_strip: Callable[[], None],
    guide: PhotoGuide | None,
) -> Iterator[Tensor]:
    """The enhanced photo from top to bottom, in tensors (1, 3, rows, W) that may be changed."""
    size_of_maps = _size_of_maps(model, *size)
    if isinstance(model, ColourResidual) and maps_as_photo_colours(model):
        with ColoursAround(model, read, size, guide) as colours:
            yield from colours.enhanced(
                apply_in_strips(model.layers, colours.maps, size_of_maps, placement, on_strip)
            )
        return

    height, width = size

    def prepared(top: int, bottom: int) -> tuple[Tensor, Tensor]:
        """What `model.prepare` makes of the photo under rows `top` to `bottom` - 1 of the maps."""
        top, bottom = top * model.step, min(bottom * model.step, height)
        photo = read(top, bottom)
        if guide is not None:
            planes = torch.from_numpy(guide.rows(top, bottom, width, height))
            photo = torch.cat([photo, planes[None]], dim=1)
        return model.prepare(photo.to(placement.device))

    def maps(top: int, bottom: int) -> Tensor:
        return prepared(top, bottom)[0]

    done = 0
    for strip in apply_in_strips(model.layers, maps, size_of_maps, placement, on_strip):
        rows = strip.shape[2]
        if type(model).finish is not Generator.finish:
            # Prepared once more: kept, it would be the whole photo where there is instance norm.
            strip = model.finish(strip, prepared(done, done + rows)[1])
        done += rows
        yield strip.cpu()


def _size_of_maps(model: Generator, height: int, width: int) -> tuple[int, int]:
    return -(-height // model.step), -(-width // model.step)


def to_levels(photo: Tensor, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """A (1, 3, H, W) photo in [0, 1], clipped and rounded to (H, W, 3) uint8."""
    out = np.empty((*photo.shape[2:], 3), np.uint8) if out is None else out
    # OpenCV clips, rounds and converts in one pass.
    planes = [cv2.multiply(plane.numpy(), 255.0, dtype=cv2.CV_8U) for plane in photo[0]]
    cv2.merge(planes, dst=out)
    return out


def load_enhancer(model_file: Path, config: EnhanceConfig, spill_folder: Path) -> Enhancer:
    """Load a network for the device and precision of `config`.

    Raises
    ------
    DpedkitError
        If the file is not a model.
    UsageError
        If the device is not there, the precision does not suit it, or the network has no colour
        map that could be applied alone.
    """
    device = choose_device(config.device)
    if device.type == "cpu" and config.precision == "fp16":
        raise UsageError("precision is 'fp16', which is fast only on GPUs; use fp32 or bf16.")
    model = load_model(model_file)
    if config.colours_only and not maps_as_photo_colours(model):
        raise UsageError(
            f"{model_file} is a {model.architecture} network, which has no colour map to apply "
            "alone; leave out --colours-only."
        )
    # Channels last is the layout in which maps are stored, and twice as fast on CPUs.
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    placement = Placement(
        device=device,
        dtype=_PRECISIONS[config.precision],
        strip_pixels=round(config.strip_megapixels * 1e6),
        memory=round(config.memory * 1e9),
        spill_folder=spill_folder,
    )
    return Enhancer(model, placement, config.colours_only)
