"""Where the fields of a shard lie in its file, found by a check that trusts nothing in it.

Shards may come from untrusted sources. Everything that would make HDF5 read another file, run an
unusual filter or ask for absurd memory is refused before a byte of data is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError
from dpedkit.shards.compressed import CompressedPatches, find_chunks
from dpedkit.shards.format import FIELDS, IMAGE_FIELDS, MAX_PATCH_SIZE, SHARD_FORMAT, Columns

_CURE = (
    "copy it again from where the shards were made, or cut them again with "
    "`dpedkit patches --overwrite`"
)


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
    """

    path: Path
    count: int
    patch_size: int
    offsets: dict[str, int]
    compressed: dict[str, CompressedPatches] = field(default_factory=dict)

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
        """Rows of all fields."""
        return {described.name: self.read(described.name, rows) for described in FIELDS}


def inspect_shard(path: Path) -> ShardLayout:
    """Check that a file is a shard and find where its fields lie, without reading their data.

    Raises
    ------
    DpedkitError
        If the file is missing, not HDF5, of another format version, or does not have this layout:
        external and soft links, external storage, virtual datasets, and other chunks than those of
        a compressed shard are refused.
    """
    import h5py

    if not path.is_file():
        raise DpedkitError(f"{path} is missing, but the index lists it; {_CURE}.")
    try:
        with h5py.File(path, "r") as file:
            return _inspect(file, path)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, PermissionError):
            raise DpedkitError(f"{path} cannot be read: permission denied.") from None
        raise DpedkitError(
            f"{path} is damaged or not a shard (HDF5: {_first_line(error)}); {_CURE}."
        ) from None


def _inspect(file: Any, path: Path) -> ShardLayout:
    version = _integer_attribute(file, "format", path)
    if version != SHARD_FORMAT:
        raise DpedkitError(
            f"{path} has shard format {version}, but this dpedkit reads format {SHARD_FORMAT}; "
            "install the version that made it, or cut the shards again."
        )
    patch_size = _integer_attribute(file, "patch_size", path)
    if not 0 < patch_size <= MAX_PATCH_SIZE:
        raise DpedkitError(f"{path} claims a patch size of {patch_size} px; it is damaged.")
    datasets = {described.name: _own_dataset(file, described.name, path) for described in FIELDS}
    count = datasets["ncc"].shape[0] if datasets["ncc"].shape else -1
    offsets: dict[str, int] = {}
    compressed: dict[str, CompressedPatches] = {}
    # What is not an image comes first: it lies in the file as it is, so that its length, and
    # thereby the number of patches, is certain before the chunks of the images are counted.
    for described in sorted(FIELDS, key=lambda described: described.name in IMAGE_FIELDS):
        name, dataset = described.name, datasets[described.name]
        wanted = described.shape(count, patch_size)
        if dataset.shape != wanted or dataset.dtype.str != described.dtype:
            raise DpedkitError(
                f"{path} is not a valid shard: '{name}' is "
                f"{dataset.dtype.str}{list(dataset.shape)}, but must be "
                f"{described.dtype}{list(wanted)}."
            )
        if dataset.chunks is not None and name in IMAGE_FIELDS:
            compressed[name] = find_chunks(dataset, path)
        else:
            offsets[name] = _contiguous(dataset, name, path)
    return ShardLayout(path, count, patch_size, offsets, compressed)


def _own_dataset(file: Any, name: str, path: Path) -> Any:
    """The dataset of that name, refused unless its data lie in this very file."""
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise DpedkitError(f"{path} is not a valid shard: it has no field '{name}'.")
    if not isinstance(link, h5py.HardLink):
        raise DpedkitError(f"{path} is refused: its field '{name}' is a link to elsewhere.")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise DpedkitError(f"{path} is not a valid shard: '{name}' is not a dataset.")
    if dataset.is_virtual or dataset.external:
        raise DpedkitError(f"{path} is refused: its field '{name}' is stored in another file.")
    return dataset


def _contiguous(dataset: Any, name: str, path: Path) -> int:
    """Byte offset of a dataset that is stored in one piece, all of it inside the file."""
    if dataset.chunks is not None:
        raise DpedkitError(
            f"{path} is not a valid shard: '{name}' is chunked, but must be stored contiguously."
        )
    size = math.prod(dataset.shape) * dataset.dtype.itemsize  # exact; numpy's product wraps round
    offset = dataset.id.get_offset()
    if size and (offset is None or offset + size > path.stat().st_size):
        raise DpedkitError(f"{path} is cut short: the data of '{name}' is missing; {_CURE}.")
    return int(offset or 0)


def _integer_attribute(file: Any, name: str, path: Path) -> int:
    value = file.attrs.get(name)
    if not isinstance(value, (int, np.integer)):
        raise DpedkitError(f"{path} is not a dpedkit shard: it has no attribute '{name}'.")
    return int(value)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
