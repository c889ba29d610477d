"""What is known of a pair beyond its record: its map, and samples of the evidence.

A file each, `aligned/details/NAME.json`, since this is most of what is known: the record of a pair
takes about 2 kB, its details up to 40. Only what draws a pair, or cuts it, reads them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.errors import DpedkitError
from dpedkit.core.records import PairRecord, WrittenFile

DETAILS = "details"  # the folder, and the name of the file among those of a record
SAMPLES = ("inlier_matches", "residuals")


@dataclass(frozen=True)
class PairDetails:
    """The map of a pair and what a report draws of its evidence.

    Attributes
    ----------
    map : dict
        `geometry.PairMap.to_dict()`: how upright phone pixels map to upright DSLR pixels; empty
        where no map was found.
    inlier_matches : list
        `[x, y, u, v]`: points of the phone photo and of the DSLR photo that match, px.
    residuals : list
        `[x, y, dx, dy]`: the shift that is left at points of the phone photo, px.
    tones : list of 3 lists of 17 int
        For red, green and blue: the phone's levels (0 to 255) that correspond to DSLR levels evenly
        spaced from 0 to 255. Empty for a rejected pair, and in files of earlier versions.
    """

    map: dict[str, Any] = field(default_factory=dict)
    inlier_matches: list[list[float]] = field(default_factory=list)
    residuals: list[list[float]] = field(default_factory=list)
    tones: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, record: PairRecord) -> Self:
        """The details of a pair of an aligned folder.

        Raises
        ------
        DpedkitError
            If their file is missing or is not the one that was written.
        """
        written = record.files.get(DETAILS)
        if written is None:  # in formats 1 and 2 they are part of the record
            return cls(record.map, *(record.evidence.get(name, []) for name in SAMPLES))
        file = details_file(folder, record.name)
        try:
            content = file.read_bytes()
        except OSError:
            raise not_as_written(file, missing=not file.exists()) from None
        if written != _written(content):
            raise not_as_written(file)
        return cls(**json.loads(content))

    def write(self, file: Path) -> WrittenFile:
        """Write the file, complete or not at all; what is returned belongs into the record."""
        values: dict[str, Any] = {"map": self.map, "inlier_matches": self.inlier_matches}
        values |= {"residuals": self.residuals, "tones": self.tones}
        text = json.dumps(values, allow_nan=False)
        content = text.encode() + b"\n"
        with complete_or_absent(file) as part:
            part.write_bytes(content)
        return _written(content)


def details_file(folder: Path, name: str) -> Path:
    """Where the details of a pair are."""
    return folder / DETAILS / f"{name}.json"


def not_as_written(file: Path, *, missing: bool = False) -> DpedkitError:
    """What to say of a file of an aligned folder that is gone or was changed."""
    state = "is missing;" if missing else "has changed; delete it,"
    return DpedkitError(
        f"{file} {state} run the same `dpedkit align` command again to restore it, then run this "
        "command again."
    )


def _written(content: bytes) -> WrittenFile:
    return WrittenFile(len(content), hashlib.sha256(content).hexdigest())
