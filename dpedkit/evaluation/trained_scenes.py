"""Which photo pairs of an aligned folder a network was trained on, by what its run records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.config import read_toml
from dpedkit.core.errors import DpedkitError
from dpedkit.core.records import PairRecord
from dpedkit.models.files import read_card
from dpedkit.shards.index import fingerprint, read_pairs
from dpedkit.shards.provenance import dslr_id, photo_id, photo_name

CONFIG_FILE = "config.toml"  # of a run


@dataclass(frozen=True)
class TrainedScenes:
    """The photo pairs of the shards that a network was trained on.

    Attributes
    ----------
    lines : list of dict
        As in `pairs.jsonl`.
    """

    lines: list[dict[str, Any]]

    def line_of(self, record: PairRecord) -> dict[str, Any]:
        """What the shards say of an aligned pair; empty if they do not have it.

        A pair is the same if its DSLR photo lies where it lay then, or if both photos have the same
        names in folders of the same names: photos that moved since must not pass as new.
        """
        here = photo_id(record.dslr.file)
        names = tuple(photo_name(Path(photo.file)) for photo in (record.phone, record.dslr))
        for line in self.lines:
            if "dslr" not in line:
                continue
            # Earlier versions wrote whole paths.
            known = tuple(photo_name(Path("/", str(line.get(side)))) for side in ("phone", "dslr"))
            if dslr_id(line) == here or known == names:
                return line
        return {}


def trained_scenes(model: Path) -> TrainedScenes | None:
    """The photo pairs that a run's shards hold, if it is known that it was trained on nothing else.

    None if the model is not in the folder of its run, the shards are gone or have changed, or the
    training started from a network that had been trained on others.
    """
    record = model.parent / CONFIG_FILE
    if not record.is_file():
        return None
    try:
        shards = Path(read_toml(record)["data"]["shards"])
        if read_card(model)["training"]["shards"] != [fingerprint(shards)]:
            return None
        return TrainedScenes(read_pairs(shards))
    except (DpedkitError, KeyError, TypeError):
        return None
