"""Read patch pairs by number, straight from the mapped shard files."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import counted, some
from dpedkit.shards.compressed import CompressedPatches
from dpedkit.shards.format import FIELDS, IMAGE_FIELDS, SPLITS
from dpedkit.shards.index import ShardEntry, ShardIndex, read_index
from dpedkit.shards.layout import ShardLayout, inspect_shard
from dpedkit.shards.thumbnails import Thumbnail, Thumbnails, gathered

_PIECE = 1 << 20  # bytes
_MAPPED = ("_files", "_sources", "_thumbnails")


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
        Of length 0 if the split is empty.

    Raises
    ------
    DpedkitError
        If the folder is not a complete shards folder, or one of the split's shards is missing,
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

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels of the split, unpacked."""
        return len(self) * len(IMAGE_FIELDS) * self.patch_size**2 * 3

    def gather(
        self,
        indices: Sequence[int] | NDArray[np.integer[Any]],
        out: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Copy patch pairs into two arrays.

        Parameters
        ----------
        indices : (B,) sequence of int
            Numbers of patch pairs, from 0, in any order, repeats allowed.
        out : two (B, S, S, 3) uint8 C-contiguous arrays, optional
            The arrays to copy into; new ones by default.

        Returns
        -------
        phone, dslr : (B, S, S, 3) uint8
            RGB patches in the order of `indices`.

        Raises
        ------
        IndexError
            If a number is not in the range of the split.
        """
        shards, rows = self._places(indices)
        shape = (len(rows), self.patch_size, self.patch_size, 3)
        phone, dslr = out or (np.empty(shape, np.uint8), np.empty(shape, np.uint8))
        if not len(rows):
            return phone, dslr
        lone = shards[0] if shards[0] == shards[-1] and (shards == shards[0]).all() else None
        shard_numbers, row_numbers = shards.tolist(), rows.tolist()
        for name, result in zip(IMAGE_FIELDS, (phone, dslr), strict=True):
            sources = self._sources[name]
            if lone is not None and isinstance(source := sources[lone], np.ndarray):
                # The mode "raise" would copy into another array first.
                source.take(rows, axis=0, out=result.reshape(len(rows), -1), mode="clip")
            else:
                # Twice as fast as a comprehension, which counts beside patches of 30 KB.
                patches = map(getitem, map(sources.__getitem__, shard_numbers), row_numbers)
                np.concatenate(list(patches), out=result.reshape(-1))
        return phone, dslr

    def _places(
        self, indices: Sequence[int] | NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shards that hold these patch pairs, and their rows there: (B,) each."""
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"patch {wanted.min()}..{wanted.max()} of {len(self)}")
        shards = self._starts.searchsorted(wanted, side="right") - 1
        return shards, wanted - self._starts[shards]

    def announce(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> None:
        """Ask the system to read patch pairs from the disk that `gather` will need soon.

        This does not wait. Without it, patches that are not in the file cache are fetched one by
        one when they are accessed, each with all that the system reads ahead around it, which can
        be megabytes. It does nothing on systems without such a call.
        """
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        shards, rows = self._places(indices)
        for shard, row in zip(shards.tolist(), rows.tolist(), strict=True):
            for name in IMAGE_FIELDS:
                start, stop = self._layouts[shard].extent(name, row, row + 1)
                start -= start % mmap.PAGESIZE
                self._files[shard].madvise(mmap.MADV_WILLNEED, start, stop - start)

    @cached_property
    def ncc(self) -> NDArray[np.float32]:
        """(N,) normalised cross-correlation of each patch pair."""
        return self.column("ncc")

    @cached_property
    def pair(self) -> NDArray[np.int32]:
        """(N,) number of the photo pair that each patch pair comes from."""
        return self.column("pair")

    @cached_property
    def has_thumbnails(self) -> bool:
        """Whether there is a thumbnail of the phone photo of every patch pair."""
        return self._thumbnails.keys() >= set(self.pair.tolist())

    def thumbnails(self, pairs: Sequence[int] | NDArray[np.integer[Any]]) -> list[Thumbnail]:
        """The whole phone photos of photo pairs, small, and where their aligned parts lie.

        Each call reads them from the files: training keeps them.

        Parameters
        ----------
        pairs : (B,) sequence of int
            Numbers of photo pairs, as in `pair`, in any order; several times where wanted.

        Returns
        -------
        list of Thumbnail
            In the order of `pairs`; those of one pair are one object.

        Raises
        ------
        DpedkitError
            If the split has no thumbnail of a pair, or it is damaged.
        """
        wanted = np.asarray(pairs, dtype=np.int64).reshape(-1).tolist()
        self._refuse_missing(set(wanted) - self._thumbnails.keys())
        return gathered(self._thumbnails, wanted)

    def require_thumbnails(self) -> None:
        """Raise DpedkitError unless there is a thumbnail of the phone photo of every patch pair."""
        self._refuse_missing(set(self.pair.tolist()) - self._thumbnails.keys())

    def _refuse_missing(self, missing: set[int]) -> None:
        if missing:
            raise DpedkitError(
                f"{self.folder} has no thumbnail of the phone photo of "
                f"{counted(len(missing), 'photo pair')} in its {self.split} split (numbers "
                f"{some(sorted(missing))}). `dpedkit patches` stores them, unless --no-thumbnails "
                "is given or the original photos are gone; published patches have none."
            )

    @cached_property
    def _thumbnails(self) -> Thumbnails:
        """What loads each thumbnail, by the number of the photo pair."""
        found: dict[int, Callable[[], Thumbnail]] = {}
        for layout in self._layouts:
            if layout.thumbnails is not None:
                found |= layout.thumbnails.loaders()
        return found

    def column(self, name: str) -> NDArray[Any]:
        """All values of one field, such as "xy" or "shift", copied into memory."""
        field = next(field for field in FIELDS if field.name == name)
        parts = [np.empty(field.shape(0, self.patch_size), field.dtype)]
        return np.concatenate([*parts, *(layout.read(name) for layout in self._layouts)])

    def read_through(self, first: int, last: int) -> None:
        """Read patch pairs `first` to `last` - 1 from end to end and discard them.

        Afterwards the system holds them in its file cache, and `gather` finds them there.
        """
        piece = bytearray(_PIECE)
        for layout, start in zip(self._layouts, self._starts.tolist(), strict=False):
            begin, end = max(first - start, 0), min(last - start, layout.count)
            if begin >= end:
                continue
            with layout.path.open("rb", buffering=0) as file:
                for name in IMAGE_FIELDS:
                    place, stop = layout.extent(name, begin, end)
                    file.seek(place)
                    while place < stop and (read := file.readinto(piece)):
                        place += read

    @cached_property
    def _files(self) -> list[mmap.mmap]:
        files = []
        for layout in self._layouts:
            with layout.path.open("rb") as file:
                files.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return files

    @cached_property
    def _sources(self) -> dict[str, list[NDArray[np.uint8] | CompressedPatches]]:
        """By name and shard: (N, S*S*3) views of the mapped file, or compressed patches."""
        patch = self.patch_size**2 * 3
        return {
            name: [
                layout.compressed[name]
                if name in layout.compressed
                else np.frombuffer(
                    file, np.uint8, layout.count * patch, layout.offsets[name]
                ).reshape(layout.count, patch)
                for layout, file in zip(self._layouts, self._files, strict=True)
            ]
            for name in IMAGE_FIELDS
        }

    def __getstate__(self) -> dict[str, Any]:
        # Mapped files cannot be pickled, and pickling arrays of them would copy all pixels.
        return {key: value for key, value in self.__dict__.items() if key not in _MAPPED}


def checked_layout(index: ShardIndex, entry: ShardEntry) -> ShardLayout:
    """The layout of a shard that is what the index says it is, as far as its size tells."""
    layout = inspect_shard(index.folder / entry.file)
    if (layout.count, layout.patch_size) != (entry.patches, index.patch_size):
        raise DpedkitError(
            f"{layout.path} holds {counted(layout.count, 'patch', 'patches')} of "
            f"{layout.patch_size} px, but the index says {entry.patches} of {index.patch_size} px; "
            "it belongs to another folder."
        )
    return layout
