"""Patches, and thumbnails, compressed with gzip one by one: written, and read without HDF5.

A chunk holds one patch of one photo, so that a random patch costs the unpacking of that patch
alone. The place of every chunk is known once the shard is inspected; reading is then a copy from
the mapped file and one call of zlib, which lets other threads run meanwhile.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError

_LEVEL = 6  # zlib's own default; higher levels save nothing more on photos
_AS_IT_IS = 1  # HDF5's filter mask of a chunk that its first filter has left alone


@dataclass(frozen=True)
class CompressedPatches:
    """One image field of a compressed shard; patches are unpacked when they are indexed.

    Attributes
    ----------
    path : Path
    patch_size : int
        Side S of a patch in px.
    offsets, sizes : (N,) int64
        Where each patch's chunk lies in the file, bytes.
    packed : (N,) bool
        Whether it is compressed; what gzip would make larger is not.
    what : str
        What they are, for the message.
    """

    path: Path
    patch_size: int
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    packed: NDArray[np.bool_]
    what: str = "patch"

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Unpack rows: (n, S, S, 3) uint8."""
        chosen = np.arange(len(self))[rows]
        side = self.patch_size
        result = np.empty((len(chosen), side, side, 3), np.uint8)
        for place, row in enumerate(chosen.tolist()):
            result[place] = self[row].reshape(side, side, 3)
        return result

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        """Unpack one patch: (S*S*3,) uint8.

        Raises
        ------
        DpedkitError
            If its chunk is damaged.
        """
        start = self.offsets[row]
        chunk = self._file[start : start + self.sizes[row]]
        wanted = self.patch_size**2 * 3
        if not self.packed[row]:
            return chunk
        unpacker = zlib.decompressobj()
        try:
            # Never more than a patch, whatever the chunk promises to grow to.
            pixels = unpacker.decompress(chunk.data, wanted)
            whole = len(pixels) == wanted and not unpacker.decompress(unpacker.unconsumed_tail, 1)
        except zlib.error:
            whole = False
        if not whole or not unpacker.eof:
            raise DpedkitError(
                f"{self.path} is damaged: {self.what} {row} cannot be decompressed. Copy the file "
                "again from where the shards were made."
            )
        return np.frombuffer(pixels, np.uint8)

    @cached_property
    def _file(self) -> NDArray[np.uint8]:
        return np.asarray(np.memmap(self.path, np.uint8, mode="r"))

    def __getstate__(self) -> dict[str, Any]:
        # Pickling the mapped file would copy all of it.
        return {key: value for key, value in self.__dict__.items() if key != "_file"}


def create_compressed(file: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Create the dataset of an image field that `write_patch` fills."""
    return file.create_dataset(
        name,
        shape=shape,
        dtype="|u1",
        chunks=(1, *shape[1:]),
        compression="gzip",
        compression_opts=_LEVEL,
        track_times=False,
    )


def write_patch(dataset: Any, row: int, patch: NDArray[np.uint8]) -> None:
    """Pack one patch and append it to the file.

    HDF5 itself would write chunks when its cache is full, in an order that depends on how the
    patches came; equal shards are to be equal files.
    """
    pixels = patch.tobytes()
    packed = zlib.compress(pixels, _LEVEL)
    place = (row, 0, 0, 0)
    if len(packed) < len(pixels):
        dataset.id.write_direct_chunk(place, packed)
    else:
        dataset.id.write_direct_chunk(place, pixels, filter_mask=_AS_IT_IS)


def find_chunks(dataset: Any, path: Path, what: str = "patch") -> CompressedPatches:
    """Where the patches of a compressed image field lie, once it is certain that they are there.

    Parameters
    ----------
    dataset : h5py.Dataset
        (N, S, S, 3) uint8, of an open file.
    path : Path
        Of that file.
    what : str
        What a chunk holds, for messages.

    Raises
    ------
    DpedkitError
        If chunks hold anything but one patch, another filter than gzip is needed, or a chunk is
        missing or reaches beyond the file.
    """
    count, side = dataset.shape[0], dataset.shape[1]
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(n)[0] for n in range(plist.get_nfilters())]
    if dataset.chunks != (1, side, side, 3) or filters != [_gzip_filter()]:
        raise DpedkitError(
            f"{path} is refused: its field '{dataset.name[1:]}' is stored neither contiguously nor "
            f"in gzip-compressed chunks of one {what}."
        )
    if dataset.id.get_num_chunks() != count:
        raise DpedkitError(f"{path} is cut short: chunks of '{dataset.name[1:]}' are missing.")
    table = np.full((count, 3), -1, np.int64)

    def note(chunk: Any) -> None:
        table[chunk.chunk_offset[0]] = chunk.byte_offset, chunk.size, chunk.filter_mask

    dataset.id.chunk_iter(note)
    offsets, sizes, masks = table.T
    packed = masks == 0
    plain = (masks == _AS_IT_IS) & (sizes == side * side * 3)
    inside = (offsets >= 0) & (sizes > 0) & (offsets + sizes <= path.stat().st_size)
    if not (inside & (packed | plain)).all():
        raise DpedkitError(
            f"{path} is damaged: chunks of '{dataset.name[1:]}' are not in the file."
        )
    return CompressedPatches(path, side, offsets.copy(), sizes.copy(), packed, what)


def _gzip_filter() -> int:
    import h5py

    return int(h5py.h5z.FILTER_DEFLATE)
