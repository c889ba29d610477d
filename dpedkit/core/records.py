"""The records that stages leave for each other in `aligned/` and what they mean.

`aligned/dataset.json` describes the folder; each line of `aligned/pairs.jsonl` is a `PairRecord`.
Records are small, since every run reads them all; `core.details` has the rest of what is known.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from dpedkit.core.errors import DpedkitError
from dpedkit.core.filestate import spelt_in_one_way, state_of

ALIGNED_FORMAT = 3
# 1 says nothing of where the map holds; 1 and 2 have the details of a pair in its record.
READABLE_ALIGNED = (1, 2, 3)
ACCEPTED, REJECTED = "accepted", "rejected"
THUMBNAILS = "report/thumbnails"  # NAME.jpg: the two originals side by side
# NAME.png: the whole phone photo, small; also the name of that file among those of a record.
PHONE_THUMBNAILS = "thumbnails"
RUN_CONFIG = "config.toml"  # in a run: its settings and what it was trained on
BY_HAND = "rejected by hand"  # how the reason of a pair begins that a person rejected
ACCEPTED_BY_HAND = "accepted by hand"  # how the first warning of a pair begins that one accepted
OTHERWISE = " (would have been rejected: "  # what follows the person's note in that warning
_TYPES: tuple[tuple[str, type], ...] = (
    *(("index", int), ("name", str), ("status", str), ("reason", str)),
    *(("map", dict), ("evidence", dict), ("seconds", dict)),
)
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class SourcePhoto:
    """One original photo, as it was when it was aligned.

    Attributes
    ----------
    file : str
        Absolute path.
    size, mtime_ns : int
        Bytes and modification time; a resumed run does the pair again when they changed.
    width, height : int
        Pixels after EXIF orientation; 0 where the photo could not be read.
    camera : str
        Make and model by the photo's EXIF data; empty where they do not say.
    conversion : str
        How the pixels were made where that is more than decoding: the settings that a camera RAW
        was developed with, the colour profile that was converted to sRGB.
    lens, exposure : str
        Of its EXIF data, in words: the lens's model; focal length, aperture, exposure time and
        sensitivity. Empty where they do not say, and in records of earlier versions.
    """

    file: str
    size: int
    mtime_ns: int
    width: int = 0
    height: int = 0
    camera: str = ""
    conversion: str = ""
    lens: str = ""
    exposure: str = ""

    @classmethod
    def of(cls, path: Path) -> Self:
        """The photo's file as it is on the disk now, size in pixels not yet known."""
        state = path.stat()
        return cls(spelt_in_one_way(path), state.st_size, state.st_mtime_ns)

    def unchanged(self) -> bool:
        """Whether the file on the disk is still the one that was recorded."""
        state = state_of(self.file)
        return state is not None and (state.st_size, state.st_mtime_ns) == (
            self.size,
            self.mtime_ns,
        )


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file as it was when it was written: bytes, and SHA-256 as hexadecimal digits."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file as it is on the disk now."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return cls(file.tell(), digest.hexdigest())

    def has_size_of(self, path: Path) -> bool:
        """Whether the file is there and has the size that was recorded."""
        state = state_of(path)
        return state is not None and state.st_size == self.size

    def is_still(self, path: Path) -> bool:
        """Whether the file on the disk is still the one that was written; reads it."""
        return self.has_size_of(path) and self == WrittenFile.of(path)


def phone_thumbnail(folder: Path, name: str) -> Path:
    """Where the thumbnail of a pair's whole phone photo is in an aligned folder."""
    return folder / PHONE_THUMBNAILS / f"{name}.png"


@dataclass(frozen=True, slots=True)
class PairRecord:
    """One phone-DSLR pair and its verdict: a line of `pairs.jsonl`.

    Attributes
    ----------
    index : int
        Position of the pair in the folder, from 0.
    name : str
        The name of the DSLR photo without its suffix; also that of the aligned images.
    status : str
        "accepted" or "rejected".
    reason : str
        Why the pair was rejected, in words; empty for an accepted one.
    phone, dslr : SourcePhoto
        The originals.
    crop : tuple of int
        `(x, y, width, height)` of the aligned images in the upright phone photo, in pixels.
    map : dict
        Of formats 1 and 2; see `PairDetails`.
    evidence : dict
        What the verdict rests on: keypoints, matches, inliers, verified points, coverage,
        residual median and p95 in px, NCC, the model chosen.
    seconds : dict
        Time spent per step.
    warnings : tuple of str
        What a person should look at although the pair was accepted; first of all, that a person
        accepted it, and why it would have been rejected.
    files : dict of str to WrittenFile
        The two aligned images as they were written, "phone" and "dslr", the file of the pair's
        "details", and the thumbnail of the whole phone photo, "thumbnails"; only those that exist,
        and none in records of earlier versions.
    """

    index: int
    name: str
    status: str
    reason: str
    phone: SourcePhoto
    dslr: SourcePhoto
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    map: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: dict[str, WrittenFile] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        return self.status == ACCEPTED

    @property
    def rejected_by_hand(self) -> bool:
        return not self.accepted and self.reason.startswith(BY_HAND)

    @property
    def accepted_by_hand(self) -> bool:
        first = self.warnings[0] if self.warnings else ""
        return self.accepted and first.startswith(ACCEPTED_BY_HAND)

    @property
    def note(self) -> str:
        """What a person gave as the reason for a decision by hand; empty if nothing."""
        if self.accepted_by_hand:
            words = self.warnings[0].partition(OTHERWISE)[0]
            return words.removeprefix(ACCEPTED_BY_HAND).removeprefix(": ")
        if self.rejected_by_hand:
            return self.reason.removeprefix(BY_HAND).removeprefix(": ")
        return ""

    def made_from(self, phone: Path, dslr: Path) -> bool:
        """Whether these are the photos, as they are on the disk now, that the record tells of."""
        recorded, now = (self.phone.file, self.dslr.file), (phone, dslr)
        if [*map(spelt_in_one_way, recorded)] != [*map(spelt_in_one_way, now)]:
            return False
        return self.phone.unchanged() and self.dslr.unchanged()

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-ready values, in the order of declaration."""
        values = _values(self)
        if not self.map:
            del values["map"]
        values["phone"], values["dslr"] = _values(self.phone), _values(self.dslr)
        values["files"] = {name: _values(file) for name, file in self.files.items()}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: Path) -> Self:
        """Read a record back.

        Raises
        ------
        DpedkitError
            If a field is missing or unknown; `where` is the file to name.
        """
        try:
            content = dict(values)
            content["phone"] = SourcePhoto(**content["phone"])
            content["dslr"] = SourcePhoto(**content["dslr"])
            content["crop"] = tuple(content["crop"])
            content["warnings"] = tuple(content["warnings"])
            content["files"] = {
                sys.intern(str(name)): WrittenFile(**file)
                for name, file in content.get("files", {}).items()
            }
            record = cls(**content)
            _check(record)
            return record
        except (KeyError, TypeError, AttributeError) as error:
            name = values.get("name", "?")
            raise DpedkitError(
                f"{where}: the record of pair '{name}' is damaged or of another version "
                f"({error}); run `dpedkit align` again with --overwrite."
            ) from None


def _values(item: Any) -> dict[str, Any]:
    """The fields of a dataclass by name; `asdict`, which copies all that is in them, takes longer
    than all else that is done with a record."""
    return {name: getattr(item, name) for name in item.__slots__}


def _check(record: PairRecord) -> None:
    """Raise TypeError if a field has a type that work would stumble over later."""
    for name, kind in _TYPES:
        if not isinstance(getattr(record, name), kind):
            raise TypeError(f"{name} is {getattr(record, name)!r}")
    for file in (record.phone, record.dslr):
        if not isinstance(file.file, str):
            raise TypeError(f"file is {file.file!r}")
    for name in ("residual_median", "ncc"):
        value = record.evidence.get(name)
        if not (value is None or isinstance(value, (int, float))):
            raise TypeError(f"{name} is {value!r}")


class Verdict(Protocol):
    """What `rejected_by_reason` asks of a record."""

    @property
    def name(self) -> str: ...
    @property
    def accepted(self) -> bool: ...
    @property
    def reason(self) -> str: ...


def rejected_by_reason(records: Iterable[Verdict]) -> list[tuple[str, list[str]]]:
    """The reasons for which pairs were rejected, with the pairs' names, most frequent first.

    Reasons that differ only in their numbers count as one, with a range where the numbers differ:
    "only 3 to 12 of 80 blocks".
    """
    kinds: dict[str, list[Verdict]] = {}
    for record in records:
        if not record.accepted:
            kinds.setdefault(_NUMBER.sub("\0", record.reason), []).append(record)
    found = [
        (_in_one([record.reason for record in same]), [record.name for record in same])
        for same in kinds.values()
    ]
    return sorted(found, key=lambda entry: -len(entry[1]))


def _in_one(reasons: Sequence[str]) -> str:
    """Reasons that differ only in their numbers as one reason with ranges."""
    columns = zip(*([found[0] for found in _NUMBER.finditer(one)] for one in reasons), strict=True)
    ranges = iter([_range(sorted(set(numbers), key=float)) for numbers in columns])
    return _NUMBER.sub(lambda _: next(ranges), reasons[0])


def _range(ordered: Sequence[str]) -> str:
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"
