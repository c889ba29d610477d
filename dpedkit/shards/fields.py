"""One field of a shard as it stands in the file, refused unless it is plain data of the right kind.

Shards may come from untrusted sources. Everything that would make HDF5 read another file, run an
unusual filter or ask for absurd memory is refused before a byte of data is used.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dpedkit.core.errors import DpedkitError
from dpedkit.shards.format import Field

CURE = (
    "copy it again from where the shards were made, or cut them again with "
    "`dpedkit patches --overwrite`"
)


def own_dataset(file: Any, name: str, path: Path) -> Any:
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


def refuse_other_kind(dataset: Any, field: Field, wanted: tuple[int, ...], path: Path) -> None:
    """Raise DpedkitError unless a dataset has the shape wanted and the type of its field."""
    if dataset.shape != wanted or dataset.dtype.str != field.dtype:
        raise DpedkitError(
            f"{path} is not a valid shard: '{field.name}' is "
            f"{dataset.dtype.str}{list(dataset.shape)}, but must be {field.dtype}{list(wanted)}."
        )


def contiguous(dataset: Any, name: str, path: Path) -> int:
    """Byte offset of a dataset that is stored in one piece, all of it inside the file."""
    if dataset.chunks is not None:
        raise DpedkitError(
            f"{path} is not a valid shard: '{name}' is chunked, but must be stored contiguously."
        )
    size = math.prod(dataset.shape) * dataset.dtype.itemsize  # exact; numpy's product wraps round
    offset = dataset.id.get_offset()
    if size and (offset is None or offset + size > path.stat().st_size):
        raise DpedkitError(f"{path} is cut short: the data of '{name}' is missing; {CURE}.")
    return int(offset or 0)
