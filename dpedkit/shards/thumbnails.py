"""Thumbnails of the whole phone photos: written into a shard, found in it, and read.

A patch does not show how its photo was exposed; the thumbnail of the photo does. It is stored once
for each photo pair of which a shard holds patches, so that every shard can be used alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError
from dpedkit.images.thumbnail import THUMBNAIL_SIDE
from dpedkit.shards.compressed import CompressedPatches, create_compressed, find_chunks, write_patch
from dpedkit.shards.fields import CURE, contiguous, own_dataset, refuse_other_kind
from dpedkit.shards.format import THUMBNAIL_FIELDS

_PADDED = (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
_TOLERANCE = 1e-3  # px by which float32 may place the edge of a crop beyond the thumbnail


@dataclass(frozen=True)
class Thumbnail:
    """A whole phone photo in few pixels, and where its aligned part lies.

    Attributes
    ----------
    pixels : (h, w, 3) uint8
        RGB, sRGB, upright; see `dpedkit.images.make_thumbnail`.
    crop : tuple of float
        `(x, y, width, height)` of the aligned phone image, in px of the thumbnail. It covers the
        area from `x - 0.5` to `x + width - 0.5`, and likewise in y: a pixel `u` of the aligned
        image, which is `W` px wide, lies at `x + (u + 0.5) * width / W - 0.5`.
    """

    pixels: NDArray[np.uint8]
    crop: tuple[float, float, float, float]

    @classmethod
    def of(
        cls,
        pixels: NDArray[np.uint8],
        photo_size: tuple[int, int],
        crop: tuple[int, int, int, int],
    ) -> Self:
        """A thumbnail, from the width and height of its photo and the crop in px of the photo."""
        width, height = photo_size
        across, down = pixels.shape[1] / width, pixels.shape[0] / height
        return cls(pixels, (crop[0] * across, crop[1] * down, crop[2] * across, crop[3] * down))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def padded(self) -> NDArray[np.uint8]:
        """The pixels in the top left corner of a `(256, 256, 3)` array of zeros."""
        padded = np.zeros(_PADDED, np.uint8)
        padded[: self.pixels.shape[0], : self.pixels.shape[1]] = self.pixels
        return padded


Thumbnails = Mapping[int, Callable[[], Thumbnail]]
"""By the number of the photo pair, what loads its thumbnail."""


@dataclass(frozen=True)
class StoredThumbnails:
    """The thumbnails of one checked shard; pixels are read when they are asked for.

    Attributes
    ----------
    path : Path
    pairs : (P,) int32
        Numbers of the photo pairs, ascending.
    sizes : (P, 2) int32
        Width and height, px.
    crops : (P, 4) float32
        See `Thumbnail.crop`.
    offset : int
        Of the pixels from the start of the file, bytes; 0 where they are compressed.
    compressed : CompressedPatches or None
        The pixels, where they are compressed.
    """

    path: Path
    pairs: NDArray[np.int32]
    sizes: NDArray[np.int32]
    crops: NDArray[np.float32]
    offset: int = 0
    compressed: CompressedPatches | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, row: int) -> Thumbnail:
        """One thumbnail.

        Raises
        ------
        DpedkitError
            If it is compressed and damaged.
        """
        width, height = self.sizes[row].tolist()
        x, y, across, down = self.crops[row].tolist()
        return Thumbnail(self.padded(row)[:height, :width].copy(), (x, y, across, down))

    def padded(self, row: int) -> NDArray[np.uint8]:
        """The pixels of one thumbnail as they are stored: (256, 256, 3) uint8."""
        if self.compressed is not None:
            return self.compressed[row].reshape(_PADDED)
        return self._mapped[row]

    def loaders(self) -> dict[int, Callable[[], Thumbnail]]:
        """By the number of the photo pair, what loads its thumbnail."""
        return {pair: _Loader(self, row) for row, pair in enumerate(self.pairs.tolist())}

    @cached_property
    def _mapped(self) -> NDArray[np.uint8]:
        shape = (len(self), *_PADDED)
        return np.asarray(np.memmap(self.path, np.uint8, "r", self.offset, shape))

    def __getstate__(self) -> dict[str, Any]:
        # Pickling the mapped file would copy all of it.
        return {key: value for key, value in self.__dict__.items() if key != "_mapped"}


@dataclass(frozen=True)
class _Loader:
    stored: StoredThumbnails
    row: int

    def __call__(self) -> Thumbnail:
        return self.stored.read(self.row)


def write_thumbnails(file: Any, thumbnails: Thumbnails, *, compress: bool) -> None:
    """Write thumbnails into an open shard, of which one at a time is in memory.

    Parameters
    ----------
    file : h5py.File
    thumbnails : mapping of int to callable
        What loads them, by the number of the photo pair. Where there are none, nothing is written.
    compress : bool
        Pack each by gzip.
    """
    if not thumbnails:
        return
    datasets = {}
    for field in THUMBNAIL_FIELDS:
        shape = field.shape(len(thumbnails), 0)
        if compress and field.name == "thumbnail":
            datasets[field.name] = create_compressed(file, field.name, shape)
        else:
            datasets[field.name] = file.create_dataset(
                field.name, shape=shape, dtype=field.dtype, track_times=False
            )
    for row, (pair, load) in enumerate(sorted(thumbnails.items())):
        thumbnail = load()
        datasets["thumbnail_pair"][row] = pair
        datasets["thumbnail_size"][row] = thumbnail.size
        datasets["thumbnail_crop"][row] = thumbnail.crop
        if compress:
            write_patch(datasets["thumbnail"], row, thumbnail.padded())
        else:
            datasets["thumbnail"][row] = thumbnail.padded()


def find_thumbnails(file: Any, patches: int, path: Path) -> StoredThumbnails | None:
    """The thumbnails of an open shard, once it is certain that all of them are in the file.

    Parameters
    ----------
    file : h5py.File
    patches : int
        Number of patch pairs in it.
    path : Path
        Of the file.

    Returns
    -------
    StoredThumbnails or None
        None if the shard has none.

    Raises
    ------
    DpedkitError
        If fields are missing, of another layout, or hold impossible values.
    """
    if not any(field.name in file for field in THUMBNAIL_FIELDS):
        return None
    datasets = {field.name: own_dataset(file, field.name, path) for field in THUMBNAIL_FIELDS}
    shape = datasets["thumbnail_pair"].shape
    count = shape[0] if shape else 0
    if not 0 < count <= patches:
        raise DpedkitError(
            f"{path} is not a valid shard: it claims {count} thumbnails for {patches} patches."
        )
    offsets: dict[str, int] = {}
    compressed = None
    for field in THUMBNAIL_FIELDS:
        dataset = datasets[field.name]
        refuse_other_kind(dataset, field, field.shape(count, 0), path)
        if field.name == "thumbnail" and dataset.chunks is not None:
            compressed = find_chunks(dataset, path, "thumbnail")
        else:
            offsets[field.name] = contiguous(dataset, field.name, path)
    stored = StoredThumbnails(
        path,
        datasets["thumbnail_pair"][:],
        datasets["thumbnail_size"][:],
        datasets["thumbnail_crop"][:],
        offsets.get("thumbnail", 0),
        compressed,
    )
    for fault in _faults(stored):
        raise DpedkitError(f"{path} is damaged: {fault}; {CURE}.")
    return stored


def _faults(stored: StoredThumbnails) -> Iterator[str]:
    """What the small fields get wrong."""
    if stored.pairs[0] < 0 or (np.diff(stored.pairs.astype(np.int64)) <= 0).any():
        yield "the photo pairs of its thumbnails are not in ascending order"
    if not ((stored.sizes >= 1) & (stored.sizes <= THUMBNAIL_SIDE)).all():
        yield f"a thumbnail has a side that is not of 1 to {THUMBNAIL_SIDE} px"
    crops = stored.crops.astype(np.float64)
    corner, extent = crops[:, :2], crops[:, 2:]
    inside = (corner >= -_TOLERANCE) & (extent > 0)
    inside &= corner + extent <= stored.sizes + _TOLERANCE
    if not inside.all():  # NaN is not inside either
        yield "the aligned part of a photo does not lie in its thumbnail"


def gathered(
    places: Mapping[int, Callable[[], Thumbnail]], pairs: Sequence[int]
) -> list[Thumbnail]:
    """The thumbnails of these photo pairs in their order, each loaded once."""
    loaded = {pair: places[pair]() for pair in dict.fromkeys(pairs)}
    return [loaded[pair] for pair in pairs]
