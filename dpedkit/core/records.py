"""The records that stages leave for each other in `aligned/` and what they mean.

`aligned/dataset.json` describes the folder; each line of `aligned/pairs.jsonl` is a `PairRecord`.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from dpedkit.core.errors import DpedkitError

ALIGNED_FORMAT = 2
READABLE_ALIGNED = (1, 2)  # 1 says nothing of where the map holds
ACCEPTED, REJECTED = "accepted", "rejected"
THUMBNAILS = "report/thumbnails"  # NAME.jpg: the two originals side by side
EVALUATIONS = "evaluations"  # in a run: what `dpedkit evaluate` found, a file each
BY_HAND = "rejected by hand"  # how the reason of a pair begins that a person rejected
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
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
    """

    file: str
    size: int
    mtime_ns: int
    width: int = 0
    height: int = 0
    camera: str = ""
    conversion: str = ""

    @classmethod
    def of(cls, path: Path) -> Self:
        """The photo's file as it is on the disk now, size in pixels not yet known."""
        state = path.stat()
        return cls(str(_spelt_in_one_way(path)), state.st_size, state.st_mtime_ns)

    def unchanged(self) -> bool:
        """Whether the file on the disk is still the one that was recorded."""
        try:
            state = Path(self.file).stat()
        except OSError:
            return False
        return (state.st_size, state.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True)
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
        try:
            return path.stat().st_size == self.size
        except OSError:
            return False

    def is_still(self, path: Path, recorded_ns: int = 0) -> bool:
        """Whether the file on the disk is still the one that was written.

        Parameters
        ----------
        path : Path
        recorded_ns : int
            When the record was written. A file of the right size that was not changed later is
            taken for sound without reading it.
        """
        if not self.has_size_of(path):
            return False
        return path.stat().st_mtime_ns <= recorded_ns or self == WrittenFile.of(path)


@dataclass(frozen=True)
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
        `geometry.PairMap.to_dict()`: how upright phone pixels map to upright DSLR pixels.
    evidence : dict
        What the verdict rests on: keypoints, matches, inliers, verified points, coverage,
        residual median and p95 in px, NCC, the model chosen.
    seconds : dict
        Time spent per step.
    warnings : tuple of str
        What a person should look at although the pair was accepted.
    files : dict of str to WrittenFile
        The two aligned images as they were written, "phone" and "dslr"; empty where there are
        none, and in records of earlier versions.
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

    def made_from(self, phone: Path, dslr: Path) -> bool:
        """Whether these are the photos, as they are on the disk now, that the record tells of."""
        recorded, now = (Path(self.phone.file), Path(self.dslr.file)), (phone, dslr)
        if [*map(_spelt_in_one_way, recorded)] != [*map(_spelt_in_one_way, now)]:
            return False
        return self.phone.unchanged() and self.dslr.unchanged()

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-ready values, in the order of declaration."""
        return asdict(self)

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
                str(side): WrittenFile(**file) for side, file in content.get("files", {}).items()
            }
            return cls(**content)
        except (KeyError, TypeError, AttributeError) as error:
            name = values.get("name", "?")
            raise DpedkitError(
                f"{where}: the record of pair '{name}' is damaged or of another version "
                f"({error}); run `dpedkit align` again with --overwrite."
            ) from None


def _spelt_in_one_way(path: Path) -> Path:
    """The absolute path of a photo, without links and detours; the photo itself may be a link."""
    return _resolved(path.parent.absolute()) / path.name


@functools.lru_cache(maxsize=64)
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def rejected_by_reason(records: Iterable[PairRecord]) -> list[tuple[str, list[str]]]:
    """The reasons for which pairs were rejected, with the pairs' names, most frequent first.

    Reasons that differ only in their numbers count as one, with a range where the numbers differ:
    "only 3 to 12 of 80 blocks".
    """
    kinds: dict[str, list[PairRecord]] = {}
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
