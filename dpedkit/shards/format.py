"""The contract of a shard: its fields and their types.

A shard is an HDF5 file with one dataset a field, all of the same length N, stored contiguously
and uncompressed, so that a reader can map the file into memory. In compressed shards the two image
fields are stored in chunks of one patch, each packed by gzip, the filter that every HDF5 has.
Attributes of the file: `format` (int), `patch_size` (int, px) and `config` (JSON text of the
settings it was made with).

A shard can also hold thumbnails of the whole phone photos: four more datasets, of one length P, the
number of photo pairs of which it holds both patches and a thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dpedkit.images.thumbnail import THUMBNAIL_SIDE

SHARD_FORMAT = 2
READABLE_SHARDS = (1, 2)  # 1 has no thumbnails
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

THUMBNAIL_FIELDS = (
    Field("thumbnail_pair", "<i4", (), "number of the photo pair, ascending"),
    Field(
        "thumbnail",
        "|u1",
        (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3),
        "the whole phone photo, RGB, sRGB, in the top left corner; the rest is 0",
    ),
    Field("thumbnail_size", "<i4", (2,), "width and height of the thumbnail, px"),
    Field(
        "thumbnail_crop",
        "<f4",
        (4,),
        "x, y, width, height of the aligned phone image in the thumbnail, px",
    ),
)
