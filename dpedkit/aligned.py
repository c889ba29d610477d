"""Read an aligned folder: check it, hash its content, and load its pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.details import DETAILS, PairDetails, not_as_written
from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.core.filestate import state_of
from dpedkit.core.manifest import each_line, read_json
from dpedkit.core.records import (
    PHONE_THUMBNAILS,
    READABLE_ALIGNED,
    PairRecord,
    SourcePhoto,
    WrittenFile,
    phone_thumbnail,
)
from dpedkit.geometry import PairMap
from dpedkit.images import make_thumbnail, read_photo
from dpedkit.images.limits import NO_LIMITS
from dpedkit.resample import crop_phone, resample_dslr
from dpedkit.shards.thumbnails import Thumbnail
from dpedkit.surfaces import Surfaces

_SIDES = ("phone", "dslr")


class OriginalGoneError(PhotoError):
    """A required original is missing or has changed."""


def read_aligned(folder: Path) -> tuple[list[PairRecord], dict[str, Any]]:
    """The accepted pairs of a finished aligned folder, and its `dataset.json`.

    Of the pairs, all but how the verdict was found.

    Raises
    ------
    DpedkitError
        If the folder is missing, was not made by `dpedkit align`, is not finished, is of another
        format version, or has no accepted pair.
    """
    description_file = folder / "dataset.json"
    if folder.is_file():
        raise DpedkitError(f"{folder} is a file; give the folder that `dpedkit align` made.")
    if not folder.is_dir():
        raise DpedkitError(
            f"{folder} does not exist; create it with `dpedkit align PHONE DSLR` first."
        )
    if not description_file.is_file():
        raise DpedkitError(
            f"{folder} was not made by `dpedkit align` (it has no dataset.json); run "
            "`dpedkit align PHONE DSLR` first, and give the folder that it makes."
        )
    description = read_json(description_file)
    if description.get("kind") != "aligned":
        raise DpedkitError(f"{folder} holds '{description.get('kind')}' data, not aligned photos.")
    if description.get("format") not in READABLE_ALIGNED:
        raise DpedkitError(
            f"{folder} has aligned format {description.get('format')}, but this dpedkit reads "
            f"formats {', '.join(map(str, READABLE_ALIGNED))}; run `dpedkit align` again with "
            "--overwrite."
        )
    if not description.get("complete"):
        raise DpedkitError(
            f"{folder} is incomplete: its `dpedkit align` run was stopped. Run the same command "
            "again to resume it."
        )
    pairs_file = folder / "pairs.jsonl"
    accepted, count = [], 0
    for _, values in each_line(pairs_file):
        record = PairRecord.from_dict(values, pairs_file)
        count += 1
        if record.accepted:
            accepted.append(replace(record, evidence={}, seconds={}))  # most of its size
    if not accepted:
        raise DpedkitError(
            f"{folder} has no accepted pair among {count}; {pairs_file} gives the reasons."
        )
    return accepted, description


def content_hash(folder: Path, records: Iterable[PairRecord], description: dict[str, Any]) -> str:
    """A short hash of everything that determines the pixels of the aligned photos and of their
    thumbnails."""
    digest = hashlib.sha256(json.dumps(description.get("config"), sort_keys=True).encode())
    photos = AlignedPhotos.of(folder, description)
    for record in records:
        details = record.files.get(DETAILS)
        pair_map = record.map if details is None else details.sha256
        content = [record.name, record.crop, pair_map, photos.state(record)]
        if PHONE_THUMBNAILS in record.files:
            content.append(record.files[PHONE_THUMBNAILS].sha256)
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class AlignedPhotos:
    """Access to the two aligned photos of each pair, stored or made from the originals.

    Attributes
    ----------
    folder : Path
        The aligned folder.
    suffix : str
        Of its images, without the dot; empty if it has none (`dpedkit align --no-images`). Then
        the originals are cropped and resampled on demand.
    """

    folder: Path
    suffix: str

    @classmethod
    def of(cls, folder: Path, description: dict[str, Any]) -> Self:
        """From the folder's `dataset.json`."""
        config = description["config"]
        return cls(folder, str(config["image_format"]) if config.get("images", True) else "")

    def read(self, record: PairRecord) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The aligned phone and DSLR photo, `(H, W, 3) uint8` RGB; see also `known`.

        Raises
        ------
        PhotoError
            If one cannot be read.
        OriginalGoneError
            If an original is no longer the file that was aligned.
        DpedkitError
            If an aligned photo is no longer the file that was written.
        """
        if self.suffix:
            self._refuse_damaged(record, WrittenFile.is_still)
            phone, dslr = (read_photo(path, NO_LIMITS) for path in self.files(record.name))
            return phone, dslr
        phone, dslr = (_read_original(photo) for photo in (record.phone, record.dslr))
        return (
            crop_phone(phone, record.crop),
            resample_dslr(dslr, PairMap.from_dict(self._map(record)), record.crop),
        )

    def whole_phone(self, record: PairRecord) -> NDArray[np.uint8]:
        """The whole phone photo, upright, of which the aligned one is the part `record.crop`.

        Raises
        ------
        PhotoError
            If it cannot be read.
        OriginalGoneError
            If it is no longer the file that was aligned.
        """
        return _read_original(record.phone)

    def known(self, record: PairRecord) -> NDArray[np.uint8] | None:
        """Validity of the alignment at each pixel, `(H, W) uint8`, see `Surfaces.known`; None for
        records of format 1, which lack it.

        Raises
        ------
        PhotoError
            If the record is damaged.
        DpedkitError
            If the file of the pair's details is not the one that was written.
        """
        surfaces = self._map(record).get("surfaces")
        if surfaces is None:
            return None
        try:
            return Surfaces.from_dict(surfaces).known(record.crop)
        except (KeyError, ValueError, TypeError) as error:
            raise PhotoError(
                f"the record of its surfaces is damaged ({error}); run `dpedkit align` "
                "again with --overwrite."
            ) from None

    def thumbnail(self, record: PairRecord) -> Thumbnail | None:
        """The whole phone photo, small, and where the aligned photo lies in it.

        None for a record of an earlier version, which has no thumbnail, if the original can no
        longer be read or has changed.

        Raises
        ------
        PhotoError
            If the record is damaged, so that the aligned photo lies outside.
        DpedkitError
            If the thumbnail is no longer the file that was written.
        """
        written = record.files.get(PHONE_THUMBNAILS)
        if written is None:
            try:
                photo = _read_original(record.phone)
            except PhotoError:
                return None
            pixels, size = make_thumbnail(photo), (photo.shape[1], photo.shape[0])
        else:
            path = phone_thumbnail(self.folder, record.name)
            if not written.is_still(path):
                raise not_as_written(path, missing=not path.exists())
            pixels, size = read_photo(path, NO_LIMITS), (record.phone.width, record.phone.height)
        x, y, width, height = record.crop
        if min(x, y) < 0 or x + width > size[0] or y + height > size[1]:
            raise PhotoError(
                "its crop is not part of its phone photo; run `dpedkit align` again with "
                "--overwrite."
            )
        return Thumbnail.of(pixels, size, record.crop)

    def _map(self, record: PairRecord) -> dict[str, Any]:
        return PairDetails.of(self.folder, record).map

    def refuse_damaged(self, records: Iterable[PairRecord], *, thumbnails: bool) -> None:
        """Raise DpedkitError if an aligned photo, or a thumbnail where they are wanted, is missing
        or its size has changed."""
        for record in records:
            if self.suffix:
                self._refuse_damaged(record, WrittenFile.has_size_of)
            small = record.files.get(PHONE_THUMBNAILS) if thumbnails else None
            path = phone_thumbnail(self.folder, record.name)
            if small is not None and not small.has_size_of(path):
                raise not_as_written(path, missing=not path.exists())

    def _refuse_damaged(
        self, record: PairRecord, is_sound: Callable[[WrittenFile, Path], bool]
    ) -> None:
        for side, path in zip(_SIDES, self.files(record.name), strict=True):
            written = record.files.get(side)  # earlier versions did not record it
            if written is not None and not is_sound(written, path):
                raise not_as_written(path, missing=not path.exists())

    def are_back(self, record: PairRecord) -> bool:
        """Whether both originals are the files that were aligned; true if they are not needed."""
        return bool(self.suffix) or (record.phone.unchanged() and record.dslr.unchanged())

    def files(self, name: str) -> tuple[Path, Path]:
        """The images of a pair."""
        phone, dslr = (self.folder / side / f"{name}.{self.suffix}" for side in _SIDES)
        return phone, dslr

    def state(self, record: PairRecord) -> list[int]:
        """Sizes and times that change if a file is replaced."""
        if not self.suffix:
            return [
                record.phone.size,
                record.phone.mtime_ns,
                record.dslr.size,
                record.dslr.mtime_ns,
            ]
        states = map(state_of, self.files(record.name))
        return [-1 if state is None else state.st_size for state in states]


def _read_original(photo: SourcePhoto) -> NDArray[np.uint8]:
    if not photo.unchanged():
        raise OriginalGoneError(
            f"{photo.file} is missing or has changed since it was aligned; restore it, or run "
            "`dpedkit align` again."
        )
    return read_photo(Path(photo.file), NO_LIMITS)
