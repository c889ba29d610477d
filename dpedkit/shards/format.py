"""The layout of a shard: its fields, its attributes, and the check that a file has them.

A shard is an HDF5 file with one dataset a field, all of the same length N, stored contiguously
and uncompressed, so that a reader can map the file into memory. Attributes of the file: `format`
(int), `patch_size` (int, px) and `config` (JSON text of the settings it was made with).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.errors import DpedkitError

SHARD_FORMAT = 1
SPLITS = ("train", "val", "test")
PATCHES_PER_SHARD = 4096
MAX_PATCH_SIZE = 4096  # px; larger claims are refused before memory is asked for

Columns = dict[str, NDArray[Any]]
"""One array a field, all of the same length; what is written to and read from a shard."""


@dataclass(frozen=True)
class Field:
    """One dataset of a shard.

    Attributes
    ----------
    name : str
    dtype : str
        Little-endian numpy type string.
    item : tuple of int
        Shape of one patch's value; 0 stands for the patch size.
    meaning : str
        What it holds, with its unit.
    """

    name: str
    dtype: str
    item: tuple[int, ...]
    meaning: str

    def shape(self, count: int, patch_size: int) -> tuple[int, ...]:
        """The dataset's shape for `count` patches of `patch_size` px."""
        return (count, *(patch_size if length == 0 else length for length in self.item))


FIELDS = (
    Field("phone", "|u1", (0, 0, 3), "phone patch, RGB, sRGB"),
    Field("dslr", "|u1", (0, 0, 3), "DSLR patch of the same scene content, RGB, sRGB"),
    Field("ncc", "<f4", (), "normalised cross-correlation of the two patches"),
    Field("xy", "<i4", (2,), "corner (x, y) of the window in the aligned phone image, px"),
    Field("shift", "<f4", (2,), "shift (x, y) that the match added to the alignment, px"),
    Field("angle", "<f4", (), "rotation that the match added to the alignment, degrees"),
    Field("shift_error", "<f4", (), "standard error of the shift as observable in the window, px"),
    Field("pair", "<i4", (), "number of the photo pair: its line in pairs.jsonl, from 0"),
)
IMAGE_FIELDS = ("phone", "dslr")


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
        Byte offset of each field's data from the start of the file.
    """

    path: Path
    count: int
    patch_size: int
    offsets: dict[str, int]

    def map(self, name: str) -> NDArray[Any]:
        """Map one field into memory, read-only; nothing is read until it is indexed."""
        field = next(field for field in FIELDS if field.name == name)
        shape = field.shape(self.count, self.patch_size)
        if self.count == 0:
            return np.empty(shape, field.dtype)  # nothing cannot be mapped
        offset = self.offsets[name]
        return np.memmap(self.path, dtype=field.dtype, mode="r", offset=offset, shape=shape)


def inspect_shard(path: Path) -> ShardLayout:
    """Check that a file is a shard and find where its fields lie, without reading their data.

    Anything that would make HDF5 read another file or run a filter is refused: external and soft
    links, external storage, virtual and chunked datasets.

    Raises
    ------
    DpedkitError
        If the file is missing, not HDF5, of another format version, or has not this layout.
    """
    import h5py

    if not path.is_file():
        raise DpedkitError(
            f"{path} is missing, though the index names it; copy it from where the shards were "
            "made, or cut them again with `dpedkit patches --overwrite`."
        )
    try:
        with h5py.File(path, "r") as file:
            return _inspect(file, path)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, PermissionError):
            raise DpedkitError(f"{path} may not be read.") from None
        raise DpedkitError(f"{path} is damaged or not a shard ({_first_line(error)}).") from None


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
    offsets: dict[str, int] = {}
    count = -1
    for field in FIELDS:
        dataset = _plain_dataset(file, field.name, path)
        if count < 0:
            count = dataset.shape[0] if dataset.shape else -1
        wanted = field.shape(count, patch_size)
        if dataset.shape != wanted or dataset.dtype.str != field.dtype:
            raise DpedkitError(
                f"{path} is no valid shard: '{field.name}' is {dataset.dtype.str}"
                f"{list(dataset.shape)}, but must be {field.dtype}{list(wanted)}."
            )
        offset = dataset.id.get_offset()
        if offset is None or offset + dataset.nbytes > path.stat().st_size:
            raise DpedkitError(f"{path} is cut short: the data of '{field.name}' is not there.")
        offsets[field.name] = offset
    return ShardLayout(path, count, patch_size, offsets)


def _plain_dataset(file: Any, name: str, path: Path) -> Any:
    """The dataset of that name, refused unless its bytes lie contiguously in this very file."""
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise DpedkitError(f"{path} is no valid shard: it has no field '{name}'.")
    if not isinstance(link, h5py.HardLink):
        raise DpedkitError(f"{path} is refused: its field '{name}' is a link to elsewhere.")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise DpedkitError(f"{path} is no valid shard: '{name}' is not a dataset.")
    if dataset.is_virtual or dataset.external:
        raise DpedkitError(f"{path} is refused: its field '{name}' is stored in another file.")
    if dataset.chunks is not None:
        raise DpedkitError(
            f"{path} is no valid shard: '{name}' is chunked, but fields are stored contiguously."
        )
    return dataset


def _integer_attribute(file: Any, name: str, path: Path) -> int:
    value = file.attrs.get(name)
    if not isinstance(value, (int, np.integer)):
        raise DpedkitError(f"{path} is no dpedkit shard: it has no attribute '{name}'.")
    return int(value)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
