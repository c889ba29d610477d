"""Networks in the form in which they are exported: everything that they need is in the graph."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dpedkit.models.colour_residual import fold
from dpedkit.models.generator import Generator
from dpedkit.models.photo_aware import PhotoAware, terms
from dpedkit.photomap.look import BINS, COARSE, DARKEST, GRID, LUMA, PERCENTILES
from dpedkit.photomap.map import UNUSUAL


class ExportedNetwork(nn.Module):
    """A network that sees a photo alone; its layers in `dtype`, a colour map in float32.

    Parameters
    ----------
    generator : Generator
        Its layers are converted in place.
    dtype : torch.dtype
        Of the layers, and of the tensors in and out.
    """

    def __init__(self, generator: Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self.generator, self.dtype = generator, dtype
        generator.layers.to(dtype)

    def forward(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> the same shape, in about [0, 1]."""
        maps, base = self.generator.prepare(photo.float())
        return self._finish(maps, base)

    def _finish(self, maps: Tensor, base: Tensor) -> Tensor:
        maps = self.generator.layers(maps.to(self.dtype)).float()
        return self.generator.finish(maps, base).to(self.dtype)


class ExportedPhotoAware(ExportedNetwork):
    """A photo-aware network that looks at the thumbnail by itself.

    It computes what `dpedkit.photomap` does, in float32 and with tensors of fixed size, so that
    thumbnails and photos may have any size.
    """

    def forward(self, photo: Tensor, thumbnail: Tensor, place: Tensor) -> Tensor:  # type: ignore[override]
        """Enhance a photo, or tiles of one photo.

        Parameters
        ----------
        photo : (N, 3, H, W) tensor
            In [0, 1].
        thumbnail : (h, w, 3) tensor of uint8
            The whole photo, at most 256 px wide and high.
        place : (N, 4) tensor of float32
            Left, top, right and bottom edge of each tile as parts of the photo's width and height;
            0, 0, 1, 1 for the whole photo.

        Returns
        -------
        (N, 3, H, W) tensor, in about [0, 1]
        """
        network = self.generator
        assert isinstance(network, PhotoAware)
        photo = photo.float()
        levels = thumbnail.float() / 255
        luminance = levels @ torch.tensor(LUMA, dtype=torch.float32)
        description = _description(levels, luminance)
        standardised = (description - network.mean) / network.scale
        scores = standardised.clamp(-UNUSUAL, UNUSUAL) @ network.weights + network.offset
        own = torch.tensordot(scores, network.directions, dims=1)
        padding = torch.zeros(len(network.coefficients) - len(own), 3)
        coefficients = network.coefficients + torch.cat([own, padding])

        height, width = _length(luminance[:, 0]), _length(luminance[0])
        longest = torch.maximum(height, width)
        rows, columns = (
            torch.round(GRID * side / longest).clamp(min=1) for side in (height, width)
        )
        grid = _means_of_cells(luminance, rows, columns, (GRID, GRID))
        x = _centres(photo[0, 0, 0], place[:, 0], place[:, 2])  # (N, W)
        y = _centres(photo[0, 0, :, 0], place[:, 1], place[:, 3])  # (N, H)
        around = _between(y, rows).transpose(1, 2) @ grid @ _between(x, columns)  # (N, H, W)
        x = ((x - 0.5) * width / longest)[:, None].expand_as(around)
        y = ((y - 0.5) * height / longest)[:, :, None].expand_as(around)
        planes = torch.stack([around, x, y]).reshape(3, -1)
        pixels = photo.transpose(0, 1)
        mapped = coefficients.T @ terms(pixels.reshape(3, -1), planes)
        mapped = mapped.reshape(pixels.shape).transpose(0, 1)
        return self._finish(fold(photo, mapped), mapped)


def exported(generator: Generator, dtype: torch.dtype) -> ExportedNetwork:
    """A copy of a network in the form for export."""
    kind = ExportedPhotoAware if isinstance(generator, PhotoAware) else ExportedNetwork
    return kind(copy.deepcopy(generator), dtype).eval()


def _description(levels: Tensor, luminance: Tensor) -> Tensor:
    """As `dpedkit.photomap.describe`: (h, w, 3) and (h, w) in [0, 1] -> (47,)."""
    pixels = levels.reshape(-1, 3)
    flat = luminance.reshape(-1)
    red, green, blue = pixels.mean(dim=0).clamp(min=DARKEST).unbind()
    colours = [(red + green + blue) / 3, red / green, blue / green]
    spread = (flat - flat.mean()).square().mean().sqrt()
    bins = (pixels.T * BINS).floor().clamp(max=BINS - 1)  # (3, P)
    histograms = (bins[:, :, None] == torch.arange(BINS)).float().mean(dim=1)
    coarse = [torch.tensor(float(cells)) for cells in COARSE]
    areas = _means_of_cells(luminance, coarse[1], coarse[0], (COARSE[1], COARSE[0]))
    return torch.cat(
        [
            torch.stack(colours).log(),
            spread[None],
            _percentiles(flat),
            histograms.reshape(-1).sqrt(),
            areas.reshape(-1),
        ]
    )


def _percentiles(values: Tensor) -> Tensor:
    """Between the two nearest values, as NumPy has them."""
    ordered = values.sort().values
    last = _length(values) - 1
    position = torch.tensor(PERCENTILES) / 100 * last
    lower = position.floor()
    upper = torch.minimum(lower + 1, last)
    share = position - lower
    below, above = ordered[lower.long()], ordered[upper.long()]
    return below + (above - below) * share


def _means_of_cells(values: Tensor, rows: Tensor, columns: Tensor, most: tuple[int, int]) -> Tensor:
    """The means of rows x columns equal cells of (h, w), with zeros up to the shape `most`."""
    down = _shares(values[:, 0], rows, most[0])
    across = _shares(values[0], columns, most[1])
    return down @ values @ across.T


def _shares(pixels: Tensor, cells: Tensor, most: int) -> Tensor:
    """Which part of a cell each of the pixels covers: (most, P)."""
    count = _length(pixels)
    edges = torch.arange(most + 1) * count / cells
    starts = _number(pixels)
    covered = torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts)
    return covered.clamp(min=0) * cells / count


def _between(centres: Tensor, cells: Tensor) -> Tensor:
    """How much each cell counts at each place: (N, M) -> (N, 32, M)."""
    position = torch.minimum((centres * cells - 0.5).clamp(min=0), cells - 1)
    return (1 - (position[:, None] - torch.arange(GRID)[:, None]).abs()).clamp(min=0)


def _centres(pixels: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Centres of so many pixels between two edges: (M,), (N,) and (N,) -> (N, M)."""
    share = (_number(pixels) + 0.5) / _length(pixels)
    return begin[:, None] + (end - begin)[:, None] * share


def _length(values: Tensor) -> Tensor:
    """The number of values (M,) as a tensor, whatever it is when the graph is run."""
    return torch.ones_like(values, dtype=torch.float32).sum()


def _number(values: Tensor) -> Tensor:
    """0, 1, 2, ... for values (M,)."""
    return torch.ones_like(values, dtype=torch.float32).cumsum(0) - 1
