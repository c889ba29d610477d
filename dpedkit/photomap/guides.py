"""Planes beside the three of a photo, which tell a network about the whole photo and the place.

For each pixel: the luminance around it, its x and y in the photo, and the photo's scores. So a part
of a photo can be computed, turned and mirrored like any image, with the result of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError
from dpedkit.photomap.look import Look, describe
from dpedkit.photomap.map import PLACE, RANK, PhotoMap

if TYPE_CHECKING:
    from dpedkit.shards.reader import SplitReader

GUIDES = PLACE + RANK


@dataclass(frozen=True)
class PhotoGuide:
    """The planes of one photo.

    Attributes
    ----------
    look : Look
    scores : (3,) float64
    """

    look: Look
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, thumbnail: NDArray[np.uint8], photo_map: PhotoMap) -> PhotoGuide:
        """Look at a photo, (h, w, 3) uint8, from `dpedkit.images.make_thumbnail`."""
        look = describe(thumbnail)
        return cls(look, photo_map.scores(look))

    def planes(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
        """The planes of a rectangle of pixels.

        Parameters
        ----------
        x : (w,) float64
            Centres of the columns as parts of the photo's width, from 0 to 1.
        y : (h,) float64
            Centres of the rows as parts of its height.

        Returns
        -------
        (6, h, w) float32
        """
        planes = np.empty((GUIDES, len(y), len(x)), np.float32)
        planes[:PLACE] = place(self.look, x, y)
        planes[PLACE:] = self.scores[:, None, None]
        return planes

    def rows(self, top: int, bottom: int, width: int, height: int) -> NDArray[np.float32]:
        """The planes of rows `top` to `bottom` - 1 of the photo of `width` x `height` px."""
        x = (np.arange(width) + 0.5) / width
        return self.planes(x, (np.arange(top, bottom) + 0.5) / height)


def place(look: Look, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    """Where pixels are: luminance around them, x and y; (3, h, w), from x (w,) and y (h,)."""
    # In two steps, down and then across. As a product with a matrix, the result of a row would
    # depend in its last bit on the rows computed beside it.
    lower, upper, share = neighbours(y, look.luminance.shape[0])
    rows = look.luminance[lower] * (1 - share)[:, None] + look.luminance[upper] * share[:, None]
    lower, upper, share = neighbours(x, look.luminance.shape[1])
    result = np.empty((PLACE, len(y), len(x)), np.float32)
    result[0] = rows[:, lower] * (1 - share) + rows[:, upper] * share
    result[1] = look.place_x(x)
    result[2] = look.place_y(y)[:, None]
    return result


def neighbours(
    centres: NDArray[np.float64], cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The cells to interpolate between, and the share of the second: (M,) each, from (M,)."""
    position = np.clip(centres * cells - 0.5, 0, cells - 1)
    lower = position.astype(np.int64)
    return lower, np.minimum(lower + 1, cells - 1), position - lower


class PatchPlaces:
    """Where the patches of a split lie in their photos.

    Parameters
    ----------
    reader : SplitReader
        With thumbnails of all photos.

    Raises
    ------
    DpedkitError
        If the folder does not say where the aligned photos lie in their photos.
    """

    def __init__(self, reader: SplitReader) -> None:
        from dpedkit.shards.index import PAIRS_FILE, read_pairs

        self.reader = reader
        self._xy = reader.column("xy")
        self._widths = [_width(line) for line in read_pairs(reader.folder)]
        for pair in np.unique(reader.pair).tolist():
            if pair >= len(self._widths) or self._widths[pair] is None:
                raise DpedkitError(
                    f"{reader.folder / PAIRS_FILE} does not say which part of the photo pair "
                    f"number {pair} was aligned; cut the shards again with `dpedkit patches "
                    "--overwrite`."
                )

    def centres(
        self, index: int, crop: Sequence[float], size: tuple[int, int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Columns and rows of a patch as parts of its photo: (S,) each, for `planes`.

        Parameters
        ----------
        index : int
            Number of the patch pair.
        crop : sequence of float
            `Thumbnail.crop`.
        size : tuple of int
            Width and height of the thumbnail.
        """
        pixel = self._pixel(index, crop)
        steps = (np.arange(self.reader.patch_size) + 0.5) * pixel
        x, y = (
            (start + corner * pixel + steps) / side
            for start, corner, side in zip(crop, self._xy[index], size, strict=False)
        )
        return x, y

    def edges(
        self, index: int, crop: Sequence[float], size: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge of a patch as parts of its photo; see `centres`."""
        pixel = self._pixel(index, crop)
        (x, y), side = self._xy[index].tolist(), self.reader.patch_size
        across = [(crop[0] + corner * pixel) / size[0] for corner in (x, x + side)]
        down = [(crop[1] + corner * pixel) / size[1] for corner in (y, y + side)]
        return across[0], down[0], across[1], down[1]

    def _pixel(self, index: int, crop: Sequence[float]) -> float:
        """Side of a pixel of the aligned image, in px of the thumbnail."""
        width = self._widths[int(self.reader.pair[index])]
        assert width is not None
        return crop[2] / width


def _width(line: dict[str, Any]) -> int | None:
    """Of an aligned image, px."""
    crop = line.get("crop")
    return crop[2] if isinstance(crop, list) and len(crop) == 4 and crop[2] > 0 else None


class PatchGuides:
    """The planes of the patches of a split; each photo is looked at once.

    Parameters
    ----------
    reader : SplitReader
        With thumbnails of all photos.
    guide : callable
        From a thumbnail, (h, w, 3) uint8, to the `PhotoGuide` of its photo.

    Raises
    ------
    DpedkitError
        As `PatchPlaces`.
    """

    def __init__(
        self, reader: SplitReader, guide: Callable[[NDArray[np.uint8]], PhotoGuide]
    ) -> None:
        self.reader, self._guide = reader, guide
        self._places = PatchPlaces(reader)
        self._known: dict[int, tuple[PhotoGuide, tuple[float, ...], tuple[int, int]]] = {}

    def __call__(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """The planes of these patches: (B, 6, S, S) float32."""
        side = self.reader.patch_size
        planes = np.empty((len(indices), GUIDES, side, side), np.float32)
        for one, index in zip(planes, np.asarray(indices).tolist(), strict=True):
            guide, crop, size = self._photo(int(self.reader.pair[index]))
            one[:] = guide.planes(*self._places.centres(index, crop, size))
        return planes

    def _photo(self, pair: int) -> tuple[PhotoGuide, tuple[float, ...], tuple[int, int]]:
        if pair not in self._known:
            (thumbnail,) = self.reader.thumbnails([pair])
            self._known[pair] = self._guide(thumbnail.pixels), thumbnail.crop, thumbnail.size
        return self._known[pair]
