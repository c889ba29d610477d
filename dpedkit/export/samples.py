"""Images on which a file is checked: random ones, patch pairs of shards, or parts of photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import counted
from dpedkit.images import list_photos, make_thumbnail, read_photo
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import INDEX_FILE
from dpedkit.shards.sampling import spread_indices

if TYPE_CHECKING:
    from dpedkit.models.generator import Generator
    from dpedkit.shards.reader import SplitReader

_WANTED = 64  # images to calibrate with, and as many to measure on
_WINDOW = 128  # px, side of what is cut from a photo; patches keep their size
_RANDOM_SIZES = ((1, 64, 96), (2, 101, 67))  # batch, height, width: also odd ones
_HELD_OUT = ("test", "val")


@dataclass(frozen=True)
class Sample:
    """What goes into a network.

    Attributes
    ----------
    photo : (N, 3, H, W) float32
        In [0, 1].
    thumbnail : (h, w, 3) uint8, or None
        For photo-aware networks, like `place`; see `export_onnx`.
    place : (N, 4) float32, or None
    dslr : (N, 3, H, W) float32, or None
        The patches of the DSLR, if there are any.
    """

    photo: NDArray[np.float32]
    thumbnail: NDArray[np.uint8] | None = None
    place: NDArray[np.float32] | None = None
    dslr: NDArray[np.float32] | None = None

    def inputs(self, dtype: type[np.floating[Any]] = np.float32) -> dict[str, NDArray[Any]]:
        """By the names that they have in an ONNX file, the photo as `dtype`."""
        inputs: dict[str, NDArray[Any]] = {"photo": self.photo.astype(dtype)}
        if self.thumbnail is not None and self.place is not None:
            inputs |= {"thumbnail": self.thumbnail, "place": self.place}
        return inputs


@dataclass(frozen=True)
class Samples:
    """Some images to calibrate with, and others to measure on.

    Attributes
    ----------
    calibration, measured : sequence of Sample
    source : str
        Where the measured ones come from, for people.
    """

    calibration: Sequence[Sample]
    measured: Sequence[Sample]
    source: str


def random_samples(model: Generator) -> list[Sample]:
    """Noise of several sizes."""
    samples = []
    for batch, height, width in _RANDOM_SIZES:
        rng = np.random.default_rng(0)
        photo = rng.random((batch, 3, height, width), np.float32)
        if not looks_at_thumbnails(model):
            samples.append(Sample(photo))
            continue
        thumbnail = rng.integers(0, 256, (height + 30, width // 2, 3), np.uint8)
        edges = np.sort(rng.random((batch, 2, 2), np.float32), axis=1)  # of x and y
        samples.append(Sample(photo, thumbnail, edges.reshape(batch, 4)))
    return samples


def read_samples(folder: Path, model: Generator) -> Samples:
    """Patch pairs of a shards folder, or windows of the photos of a folder; always the same.

    Of shards, train patches calibrate and test patches (or else val patches) are measured. Where
    there are no train patches or no others, and with photos, every other photo is measured.

    Raises
    ------
    DpedkitError
        If the folder is neither, cannot be read, or holds too little, or if the network needs
        thumbnails and the shards have none.
    """
    if (folder / INDEX_FILE).is_file():
        return _of_shards(folder, model)
    return _of_photos(folder, model)


def looks_at_thumbnails(model: Generator) -> bool:
    """Whether a network also takes the thumbnail of the whole photo."""
    from dpedkit.models.photo_aware import PhotoAware

    return isinstance(model, PhotoAware)


def _of_shards(folder: Path, model: Generator) -> Samples:
    from dpedkit.shards.reader import open_split

    readers = {split: open_split(folder, split) for split in SPLITS}
    filled = {split: reader for split, reader in readers.items() if len(reader)}
    held_out = next((split for split in _HELD_OUT if split in filled), None)
    if "train" in filled and held_out is not None:
        sources = [(filled[split], np.arange(len(filled[split]))) for split in ("train", held_out)]
        named = held_out
    else:
        named, reader = next(iter(filled.items()), ("train", readers["train"]))
        sources = [(reader, half) for half in _halves(reader.pair)]
    if not all(len(numbers) for _, numbers in sources):
        raise DpedkitError(f"{folder} holds too few patch pairs to calibrate and to measure.")
    calibration, measured = (
        list(_patches(reader, numbers[spread_indices(len(numbers), _WANTED)], model))
        for reader, numbers in sources
    )
    counts = counted(len(measured), "patch", "patches")
    return Samples(calibration, measured, f"{counts} of {folder} ({named})")


def _halves(pair: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The patches of every other photo and the rest, by number; of a single photo, every other."""
    photos, number = np.unique(pair, return_inverse=True)
    odd = (number if len(photos) > 1 else np.arange(len(pair))) % 2 == 1
    return np.flatnonzero(~odd), np.flatnonzero(odd)


def _patches(reader: SplitReader, numbers: NDArray[np.int64], model: Generator) -> Iterator[Sample]:
    from dpedkit.photomap.guides import PatchPlaces

    places = None
    if looks_at_thumbnails(model):
        reader.require_thumbnails()
        places = PatchPlaces(reader)
    for number in numbers.tolist():
        phone, dslr = (_as_images(patches) for patches in reader.gather([number]))
        if places is None:
            yield Sample(phone, dslr=dslr)
            continue
        (thumbnail,) = reader.thumbnails(reader.pair[[number]])
        edges = places.edges(number, thumbnail.crop, thumbnail.size)
        yield Sample(phone, thumbnail.pixels, np.array([edges], np.float32), dslr)


def _of_photos(folder: Path, model: Generator) -> Samples:
    files = list_photos(folder)
    chosen = [files[number] for number in spread_indices(len(files), 2 * _WANTED)]
    each = -(-2 * _WANTED // len(chosen))
    parts = [list(_windows(read_photo(file), each, model)) for file in chosen]
    if len(parts) == 1:  # then the windows of this one are divided
        parts = [[window] for window in parts[0]]
    calibration, measured = (
        [window for part in parts[first::2] for window in part] for first in (0, 1)
    )
    counts = counted(len(measured), "window")
    return Samples(calibration, measured, f"{counts} of the photos in {folder}")


def _windows(photo: NDArray[np.uint8], count: int, model: Generator) -> Iterator[Sample]:
    """Windows at random places of a photo; all of its width or height where that is smaller."""
    height, width = photo.shape[:2]
    rows, columns = min(height, _WINDOW), min(width, _WINDOW)
    thumbnail = make_thumbnail(photo) if looks_at_thumbnails(model) else None
    rng = np.random.default_rng(0)
    for _ in range(count):
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        window = _as_images(photo[None, top : top + rows, left : left + columns])
        edges = [left / width, top / height, (left + columns) / width, (top + rows) / height]
        place = None if thumbnail is None else np.array([edges], np.float32)
        yield Sample(window, thumbnail, place)


def _as_images(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) in [0, 1]."""
    return np.ascontiguousarray(levels.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
