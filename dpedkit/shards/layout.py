"""Where the fields of a shard lie in its file, found by a check that trusts nothing in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import first_line
from dpedkit.shards.compressed import CompressedPatches, find_chunks
from dpedkit.shards.fields import CURE, contiguous, own_dataset, refuse_other_kind
from dpedkit.shards.format import FIELDS, IMAGE_FIELDS, MAX_PATCH_SIZE, READABLE_SHARDS, Columns
from dpedkit.shards.thumbnails import StoredThumbnails, find_thumbnails


@dataclass(frozen=True)
class ShardLayout:
    """Where the fields of one checked shard lie in its file.

    Attributes
    ----------
    path : Path
    count : int
        Number of patch pairs.
    patch_size : int
        Side of a patch in px.
    offsets : dict of str to int
        Byte offset of the data of each contiguous field from the start of the file.
    compressed : dict of str to CompressedPatches
        The image fields, where they are compressed.
    thumbnails : StoredThumbnails or None
        Of the whole phone photos; None where the shard has none.
    """

    path: Path
    count: int
    patch_size: int
    offsets: dict[str, int]
    compressed: dict[str, CompressedPatches] = field(default_factory=dict)
    thumbnails: StoredThumbnails | None = None

    def map(self, name: str) -> NDArray[Any]:
        """Map one contiguous field into memory, read-only; nothing is read until it is indexed."""
        described = next(field for field in FIELDS if field.name == name)
        shape = described.shape(self.count, self.patch_size)
        if self.count == 0:
            return np.empty(shape, described.dtype)  # nothing cannot be mapped
        offset = self.offsets[name]
        return np.memmap(self.path, dtype=described.dtype, mode="r", offset=offset, shape=shape)

    def read(self, name: str, rows: slice | NDArray[np.integer[Any]] = slice(None)) -> NDArray[Any]:
        """Rows of any field as an array; views of the mapped file where that is possible."""
        if name in self.compressed:
            return self.compressed[name].read(rows)
        return self.map(name)[rows]

    def extent(self, name: str, first: int, last: int) -> tuple[int, int]:
        """First byte, and byte after the last, of rows `first` to `last` - 1 of an image field."""
        if name in self.compressed:
            chunks = self.compressed[name]
            starts = chunks.offsets[first:last]
            return int(starts.min()), int((starts + chunks.sizes[first:last]).max())
        patch = self.patch_size**2 * 3
        return self.offsets[name] + first * patch, self.offsets[name] + last * patch

    def columns(self, rows: slice | NDArray[np.integer[Any]] = slice(None)) -> Columns:
        """Rows of all fields of the patches."""
        return {described.name: self.read(described.name, rows) for described in FIELDS}


def inspect_shard(path: Path) -> ShardLayout:
    """Check that a file is a shard and find where its fields lie, without reading their pixels.

    Raises
    ------
    DpedkitError
        If the file is missing, not HDF5, of another format version, or does not have this layout:
        external and soft links, external storage, virtual datasets, and other chunks than those of
        a compressed shard are refused.
    """
    import h5py

    if not path.is_file():
        raise DpedkitError(f"{path} is missing, but the index lists it; {CURE}.")
    try:
        with h5py.File(path, "r") as file:
            return _inspect(file, path)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, PermissionError):
            raise DpedkitError(f"{path} cannot be read: permission denied.") from None
        raise DpedkitError(
            f"{path} is damaged or not a shard (HDF5: {first_line(error)}); {CURE}."
        ) from None


def _inspect(file: Any, path: Path) -> ShardLayout:
    version = _integer_attribute(file, "format", path)
    if version not in READABLE_SHARDS:
        raise DpedkitError(
            f"{path} has shard format {version}, but this dpedkit reads formats "
            f"{', '.join(map(str, READABLE_SHARDS))}; install the version that made it, or cut the "
            "shards again."
        )
    patch_size = _integer_attribute(file, "patch_size", path)
    if not 0 < patch_size <= MAX_PATCH_SIZE:
        raise DpedkitError(f"{path} claims a patch size of {patch_size} px; it is damaged.")
    datasets = {described.name: own_dataset(file, described.name, path) for described in FIELDS}
    count = datasets["ncc"].shape[0] if datasets["ncc"].shape else -1
    offsets: dict[str, int] = {}
    compressed: dict[str, CompressedPatches] = {}
    # What is not an image comes first: it lies in the file as it is, so that its length, and
    # thereby the number of patches, is certain before the chunks of the images are counted.
    for described in sorted(FIELDS, key=lambda described: described.name in IMAGE_FIELDS):
        name, dataset = described.name, datasets[described.name]
        refuse_other_kind(dataset, described, described.shape(count, patch_size), path)
        if dataset.chunks is not None and name in IMAGE_FIELDS:
            compressed[name] = find_chunks(dataset, path)
        else:
            offsets[name] = contiguous(dataset, name, path)
    thumbnails = find_thumbnails(file, count, path) if version > 1 else None
    return ShardLayout(path, count, patch_size, offsets, compressed, thumbnails)


def _integer_attribute(file: Any, name: str, path: Path) -> int:
    value = file.attrs.get(name)
    if not isinstance(value, (int, np.integer)):
        raise DpedkitError(f"{path} is not a dpedkit shard: it has no attribute '{name}'.")
    return int(value)
