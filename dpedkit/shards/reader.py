"""Read patch pairs by number, straight from the mapped shard files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.errors import DpedkitError
from dpedkit.shards.format import FIELDS, IMAGE_FIELDS, SPLITS, ShardLayout, inspect_shard
from dpedkit.shards.index import ShardEntry, ShardIndex, read_index


def open_split(folder: str | Path, split: str) -> SplitReader:
    """Open one split of a shards folder.

    Parameters
    ----------
    folder : str or Path
        The folder that holds `index.json`.
    split : str
        "train", "val" or "test".

    Returns
    -------
    SplitReader
        Of length 0 where the split holds nothing.

    Raises
    ------
    DpedkitError
        If the folder is no complete shards folder, or one of the split's shards is missing,
        damaged, of another layout, or would make HDF5 read other files.
    """
    if split not in SPLITS:
        raise DpedkitError(f"There is no split '{split}'; the splits are {', '.join(SPLITS)}.")
    return SplitReader(read_index(folder), split)


class SplitReader:
    """The patch pairs of one split, numbered from 0.

    The layout of every shard is checked on opening. Files are mapped when they are first read,
    in the process that reads them: a reader can be pickled, forked and handed to workers.

    Attributes
    ----------
    folder : Path
    split : str
    patch_size : int
        Side S of a patch in px.
    """

    def __init__(self, index: ShardIndex, split: str) -> None:
        self.folder, self.split, self.patch_size = index.folder, split, index.patch_size
        self._layouts = [checked_layout(index, entry) for entry in index.shards[split]]
        ends = np.cumsum([layout.count for layout in self._layouts], dtype=np.int64)
        self._starts: NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), ends])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def gather(
        self, indices: Sequence[int] | NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Copy patch pairs into two new arrays.

        Parameters
        ----------
        indices : (B,) sequence of int
            Numbers of patch pairs, from 0, in any order, repeats allowed.

        Returns
        -------
        phone, dslr : (B, S, S, 3) uint8
            RGB patches in the order of `indices`.

        Raises
        ------
        IndexError
            If a number is not in the range of the split.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"patch {wanted.min()}..{wanted.max()} of {len(self)}")
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        rows = wanted - self._starts[shards]
        places = list(zip(shards.tolist(), rows.tolist(), strict=True))
        phone, dslr = (self._copy(name, places) for name in IMAGE_FIELDS)
        return phone, dslr

    def _copy(self, name: str, places: list[tuple[int, int]]) -> NDArray[np.uint8]:
        shape = (len(places), self.patch_size, self.patch_size, 3)
        if not places:
            return np.empty(shape, np.uint8)
        maps = self._maps[name]
        return np.concatenate([maps[shard][row] for shard, row in places]).reshape(shape)

    @cached_property
    def ncc(self) -> NDArray[np.float32]:
        """(N,) normalised cross-correlation of each patch pair."""
        return self.column("ncc")

    @cached_property
    def pair(self) -> NDArray[np.int32]:
        """(N,) number of the photo pair that each patch pair comes from."""
        return self.column("pair")

    def column(self, name: str) -> NDArray[Any]:
        """All values of one field, such as "xy" or "shift", copied into memory."""
        field = next(field for field in FIELDS if field.name == name)
        parts = [np.empty(field.shape(0, self.patch_size), field.dtype)]
        return np.concatenate([*parts, *(layout.map(name) for layout in self._layouts)])

    @cached_property
    def _maps(self) -> dict[str, list[NDArray[np.uint8]]]:
        # Plain (N, S*S*3) views: copying rows of np.memmap costs five times as much a patch.
        return {
            name: [
                np.asarray(layout.map(name)).reshape(layout.count, -1) for layout in self._layouts
            ]
            for name in IMAGE_FIELDS
        }

    def __getstate__(self) -> dict[str, Any]:
        # Pickling mapped arrays would copy all their pixels.
        return {key: value for key, value in self.__dict__.items() if key != "_maps"}


def checked_layout(index: ShardIndex, entry: ShardEntry) -> ShardLayout:
    """The layout of a shard that is what the index says it is, as far as its size tells."""
    layout = inspect_shard(index.folder / entry.file)
    if (layout.count, layout.patch_size) != (entry.patches, index.patch_size):
        raise DpedkitError(
            f"{layout.path} holds {layout.count} patches of {layout.patch_size} px, but the index "
            f"promises {entry.patches} of {index.patch_size} px; it belongs to another folder."
        )
    return layout
