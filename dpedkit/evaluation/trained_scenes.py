"""Which photo pairs of an aligned folder a network was trained on, by what its run records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dpedkit.core.config import read_toml
from dpedkit.core.errors import DpedkitError
from dpedkit.core.records import RUN_CONFIG, PairRecord
from dpedkit.models.files import read_card
from dpedkit.shards.index import fingerprint, read_pairs
from dpedkit.shards.provenance import dslr_id, photo_id, photo_name

Line = dict[str, Any]


@dataclass(frozen=True)
class TrainedScenes:
    """The photo pairs of the shards that a network was trained on.

    Attributes
    ----------
    by_dslr : dict of str to dict
        Lines of `pairs.jsonl` by the identity of their DSLR photo, see `dslr_id`.
    by_names : dict of (str, str) to dict
        The same by the names of the phone and the DSLR photo, see `photo_name`.
    """

    by_dslr: dict[str, Line]
    by_names: dict[tuple[str, str], Line]

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Self:
        """From the lines of `pairs.jsonl`; those that name no DSLR photo are left out."""
        found = cls({}, {})
        for line in lines:
            if "dslr" in line:
                found.by_dslr.setdefault(dslr_id(line), line)
                # Earlier versions wrote whole paths.
                whole = (Path("/", str(line.get(side))) for side in ("phone", "dslr"))
                phone, dslr = map(photo_name, whole)
                found.by_names.setdefault((phone, dslr), line)
        return found

    def line_of(self, record: PairRecord) -> Line:
        """What the shards say of an aligned pair; empty if they do not have it.

        A pair is the same if its DSLR photo lies where it lay then, or if both photos have the same
        names in folders of the same names: photos that moved since must not pass as new.
        """
        phone, dslr = (photo_name(Path(photo.file)) for photo in (record.phone, record.dslr))
        same = self.by_dslr.get(photo_id(record.dslr.file))
        return same or self.by_names.get((phone, dslr), {})


def trained_scenes(model: Path) -> TrainedScenes | None:
    """The photo pairs that a run's shards hold, if it is known that it was trained on nothing else.

    None if the model is not in the folder of its run, the shards are gone or have changed, or the
    training started from a network that had been trained on others.
    """
    record = model.parent / RUN_CONFIG
    if not record.is_file():
        return None
    try:
        shards = Path(read_toml(record)["data"]["shards"])
        if read_card(model)["training"]["shards"] != [fingerprint(shards)]:
            return None
        return TrainedScenes.of(read_pairs(shards))
    except (DpedkitError, KeyError, TypeError):
        return None
