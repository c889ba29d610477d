"""The colour map of a photo: around the layers of a network that add detail to it, or alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.core.process import one_thread
from dpedkit.models.colour_residual import CENTRE, FOLD, ColourResidual, fold
from dpedkit.models.generator import Generator
from dpedkit.models.photo_aware import PhotoAware
from dpedkit.photomap import PhotoColours, PhotoGuide

ReadPhoto = Callable[[int, int], Tensor]  # (top, bottom) -> (1, 3, rows, W) in [0, 1], on the CPU
_BAND_ROWS = 256


class ColoursAround:
    """The colour map of one photo around the layers that add the residual to it.

    The map is that of `PhotoColours`, computed in threads of its own; PyTorch's, on as many
    processors, takes several times as long.
    """

    def __init__(
        self,
        model: ColourResidual,
        read: ReadPhoto,
        size: tuple[int, int],
        guide: PhotoGuide | None,
    ) -> None:
        self.model, self.read, self.height = model, read, size[0]
        self.colours = colours_of(model, (size[1], size[0]), guide)
        self.waiting: list[Tensor] = []  # mapped colours whose residual is not computed yet
        self.threads = _Threads()

    def __enter__(self) -> ColoursAround:
        self.threads.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.__exit__()

    def maps(self, top: int, bottom: int) -> Tensor:
        """What the first layer is fed, for rows of maps: (1, 24, rows, W / 2)."""
        top, bottom = top * FOLD, min(bottom * FOLD, self.height)
        photo = self.read(top, bottom)
        mapped = torch.empty(photo.shape)
        given, found = photo[0].numpy(), mapped[0].numpy()

        def map_rows(rows: slice) -> None:
            self.colours.map_rows(given[:, rows], top + rows.start, out=found[:, rows])

        self.threads.share(map_rows, 0, bottom - top)
        self.waiting.append(mapped)
        return _folded(photo, mapped)

    def enhanced(self, residuals: Iterator[Tensor]) -> Iterator[Tensor]:
        """Residuals (1, 12, rows, W / 2) from top to bottom, each added to its mapped colours."""
        for residual in residuals:
            needed = residual.shape[2] * FOLD
            mapped = torch.cat(self.waiting, dim=2) if len(self.waiting) > 1 else self.waiting[0]
            self.waiting = [mapped[:, :, needed:]]
            yield _finished(self.model, residual.cpu(), mapped[:, :, :needed])


def maps_as_photo_colours(model: Generator) -> bool:
    """Whether a network maps colours as `PhotoColours` does.

    A network that inherits from `ColourResidual` may map or add colours in another way.
    """
    if not isinstance(model, ColourResidual):
        return False
    known = {ColourResidual.map_colours, PhotoAware.map_colours}
    return (
        type(model).map_colours in known
        and type(model).prepare is ColourResidual.prepare
        and type(model).finish is ColourResidual.finish
    )


def colours_of(
    model: ColourResidual, size: tuple[int, int], guide: PhotoGuide | None
) -> PhotoColours:
    """The colour map of a photo of this width and height; without a guide, that of all photos."""
    if isinstance(model, PhotoAware) and guide is not None:
        return PhotoColours.of(model.photo_map, guide, size)
    return PhotoColours.of_polynomial(model.colour_map.double().cpu().numpy(), size)


def map_photo(
    colours: PhotoColours, image: NDArray[np.uint8], on_band: Callable[[], None]
) -> NDArray[np.uint8]:
    """The photo by its colour map alone; (H, W, 3) uint8 in and out.

    `on_band` is called after each of the `count_bands` bands.
    """
    height = len(image)
    mapped = np.empty_like(image)

    def map_rows(rows: slice) -> None:
        colours.map_levels(image[rows], rows.start, out=mapped[rows])

    with _Threads() as threads:
        for top in range(0, height, _BAND_ROWS):
            threads.share(map_rows, top, min(height, top + _BAND_ROWS))
            on_band()
    return mapped


def count_bands(height: int) -> int:
    """In how many bands `map_photo` maps a photo."""
    return -(-height // _BAND_ROWS)


class _Threads:
    """Threads among which rows are shared, as many as PyTorch uses; within them BLAS uses one."""

    def __enter__(self) -> _Threads:
        one_thread.__enter__()
        self.count = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.count)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown()
        one_thread.__exit__()

    def share(self, work: Callable[[slice], None], top: int, bottom: int) -> None:
        """Do work on equal parts of the rows from `top` to `bottom` - 1."""
        parts = min(bottom - top, self.count)
        edges = np.linspace(top, bottom, parts + 1).round().astype(int).tolist()
        list(self.pool.map(work, [slice(top, bottom) for top, bottom in pairwise(edges)]))


def _folded(photo: Tensor, mapped: Tensor) -> Tensor:
    """As `fold`, laid out channels last, which takes one pass instead of five."""
    rows, width = photo.shape[2:]
    if rows % FOLD or width % FOLD:
        return fold(photo, mapped)
    maps = torch.empty((1, rows // FOLD, width // FOLD, 2, 3, FOLD, FOLD))
    for version, planes in enumerate((photo, mapped)):
        torch.sub(_blocks(planes), CENTRE, out=maps[0, :, :, version])
    return maps.flatten(3).permute(0, 3, 1, 2)


def _finished(model: ColourResidual, residual: Tensor, mapped: Tensor) -> Tensor:
    """As `model.finish`, added to the mapped colours in place."""
    rows, width = mapped.shape[2:]
    if rows % FOLD or width % FOLD:
        return model.finish(residual, mapped)
    blocks = residual[0].permute(1, 2, 0).unflatten(2, (3, FOLD, FOLD))
    _blocks(mapped).add_(blocks)
    return mapped


def _blocks(planes: Tensor) -> Tensor:
    """A view of (1, 3, H, W) as the blocks that `fold` gathers: (H / 2, W / 2, 3, 2, 2)."""
    blocks = planes[0].unflatten(2, (-1, FOLD)).unflatten(1, (-1, FOLD))
    return blocks.permute(1, 3, 0, 2, 4)
