"""Which shards of an unfinished folder are as they were written."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from dpedkit.core.atomic import make_folder
from dpedkit.core.manifest import Journal, read_jsonl

WORK = "work"  # folder of what is only needed until the shards are finished
_NOTES = "shards.jsonl"
_READ_BYTES = 1 << 22


class FinishedShards:
    """The checksums of the shards that earlier runs and this one have written to a folder.

    After a power cut, a file may not hold what was written to it. So a run that continues keeps
    only shards whose checksum was noted and still matches.

    Parameters
    ----------
    folder : Path
        The shards folder; the notes are in its subfolder `work`.
    """

    def __init__(self, folder: Path) -> None:
        self._notes = make_folder(folder / WORK) / _NOTES
        known = read_jsonl(self._notes) if self._notes.exists() else []
        self._known: dict[str, str] = {note["file"]: note["sha256"] for note in known}

    def checksum(self, path: Path) -> str | None:
        """SHA-256 of a shard that is as it was written; None if it is not there or not known."""
        known = self._known.get(path.name)
        return known if known and path.exists() and file_sha256(path) == known else None

    def add(self, path: Path) -> str:
        """Note a shard that was just written; once this returns, a power cut does not lose it."""
        digest = file_sha256(path)
        with Journal(self._notes) as journal:
            journal.append({"file": path.name, "sha256": digest})
        self._known[path.name] = digest
        return digest


def remove_work(folder: Path) -> None:
    """Remove what is only needed until the shards of a folder are finished."""
    shutil.rmtree(folder / WORK, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
