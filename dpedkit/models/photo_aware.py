"""A colour-residual network whose colour map is chosen by the whole photo; not in the paper.

It takes more than a photo: beside R, G and B, the planes of `dpedkit.photomap.guides` tell it how
the whole photo looks and where a pixel is. Without them it has one colour map for every photo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.colourmap import EXPONENTS, ColourMap
from dpedkit.core import console
from dpedkit.models.colour_residual import ColourResidual, monomials
from dpedkit.models.generator import Generator
from dpedkit.photomap.guides import GUIDES, PatchGuides, PhotoGuide
from dpedkit.photomap.look import DESCRIPTION
from dpedkit.photomap.map import LINEAR, PLACE, QUADRATIC, RANK, TERMS, PhotoMap

if TYPE_CHECKING:
    from dpedkit.shards.reader import SplitReader

_PIXELS_AT_ONCE = 1 << 17  # bounds the memory of the terms to 25 MB, which is also the fastest


class PhotoAware(ColourResidual):
    """Colour polynomial for each photo, plus residual blocks at half the resolution.

    Parameters
    ----------
    channels, blocks : int
        Width and number of the residual blocks.

    Attributes
    ----------
    colour_map : (20, 3) buffer of float32
        Coefficients of the polynomial for a photo that is given without planes.
    coefficients, directions, mean, scale, weights, offset : buffers of float32
        Those of a `PhotoMap`; the identity until `photo_map` is set.
    """

    coefficients: Tensor
    directions: Tensor
    mean: Tensor
    scale: Tensor
    weights: Tensor
    offset: Tensor

    def __init__(self, channels: int = 32, blocks: int = 3) -> None:
        super().__init__(channels, blocks)
        self.architecture = "photo-aware"
        self.register_buffer("coefficients", torch.empty(TERMS, 3))
        self.register_buffer("directions", torch.empty(RANK, len(EXPONENTS), 3))
        self.register_buffer("mean", torch.empty(DESCRIPTION))
        self.register_buffer("scale", torch.empty(DESCRIPTION))
        self.register_buffer("weights", torch.empty(DESCRIPTION, RANK))
        self.register_buffer("offset", torch.empty(RANK))
        self.photo_map = PhotoMap.of_every_photo(ColourMap.identity().coefficients)

    @property
    def photo_map(self) -> PhotoMap:
        """The photo map."""
        return PhotoMap(**{name: _array(getattr(self, name)) for name in PhotoMap.names()})

    @photo_map.setter
    def photo_map(self, photo_map: PhotoMap) -> None:
        for name in PhotoMap.names():
            getattr(self, name).copy_(torch.from_numpy(getattr(photo_map, name)))

    def guide(self, thumbnail: NDArray[np.uint8]) -> PhotoGuide:
        """What makes the planes for a photo, from its thumbnail: (h, w, 3) uint8."""
        return PhotoGuide.of(thumbnail, self.photo_map)

    def map_colours(self, photo: Tensor) -> Tensor:
        """Apply the polynomial: (N, 3 or 9, H, W) -> (N, 3, H, W), in float32 under autocast."""
        if photo.shape[1] == 3 or torch.is_autocast_enabled(photo.device.type):
            return super().map_colours(photo)
        flat = photo.transpose(0, 1).reshape(3 + GUIDES, -1)  # (9, M)
        # The shared coefficients, and those of each score: (3 + 9, 43)
        ways = self.directions.transpose(1, 2).reshape(-1, len(EXPONENTS))
        ways = torch.nn.functional.pad(ways, (0, TERMS - len(EXPONENTS)))
        rows = torch.cat([self.coefficients.T, ways])
        mapped = []
        for block in flat.split(_PIXELS_AT_ONCE, dim=1):
            pixels, place, scores = block.split([3, PLACE, RANK])
            shared, *differences = (rows @ terms(pixels, place)).split(3)
            for score, difference in zip(scores, differences, strict=True):
                shared = torch.addcmul(shared, score, difference)
            mapped.append(shared)
        return torch.cat(mapped, dim=1).view(3, len(photo), *photo.shape[2:]).transpose(0, 1)


def guides_for(generator: Generator, reader: SplitReader) -> PatchGuides | None:
    """The planes of a split's patches; None where the network takes none, or has no thumbnails."""
    if not isinstance(generator, PhotoAware) or not len(reader) or not reader.has_thumbnails:
        return None
    return PatchGuides(reader, generator.guide)


def warn_without_thumbnails(generator: Generator, reader: SplitReader) -> None:
    """Say so if the network would look at the photos of a split, but they are not there."""
    if isinstance(generator, PhotoAware) and len(reader) and not reader.has_thumbnails:
        console.warn(
            f"{reader.folder} has no thumbnails of all photos of its {reader.split} split, so "
            "photo-aware uses one colour map for every photo. `dpedkit patches` makes thumbnails; "
            "published patches have none."
        )


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.detach().cpu().double().numpy()


def terms(pixels: Tensor, place: Tensor) -> Tensor:
    """As `dpedkit.photomap.map.terms`: (3, M) and (3, M) -> (43, M)."""
    powers = monomials(pixels)
    luminance, x, y = place
    linear = powers[:LINEAR]
    return torch.cat(
        [
            *(powers, linear * x, linear * y, linear * (x * x + y * y)),
            *(powers[:QUADRATIC] * luminance, (luminance * luminance)[None]),
        ]
    )
