"""The records of an aligned folder's pairs, found by name: on the disk, not in memory.

A folder may hold a hundred thousand pairs. So records are read one by one; of each, only its place
in its file is kept, and what the summary needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.manifest import Journal, each_line, json_line, line_at
from dpedkit.core.records import PairRecord

PAIRS = "pairs.jsonl"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept in memory of a record.

    Attributes
    ----------
    index, name, accepted, reason
        As in the record.
    accepted_by_hand : bool
    warning : str
        Its first warning other than that; empty if it has none.
    residual : float or None
        Its median residual, phone px.
    in_journal : bool
        Which of the two files it is in.
    start : int
        Where its line begins there, in bytes.
    """

    index: int
    name: str
    accepted: bool
    reason: str
    accepted_by_hand: bool
    warning: str
    residual: float | None
    in_journal: bool
    start: int


class Ledger:
    """The newest record of every pair, in `pairs.jsonl` and, while a run works, in its journal.

    A context manager; the files are closed at its end.

    Parameters
    ----------
    folder : Path
        The aligned folder, locked.
    """

    def __init__(self, folder: Path) -> None:
        self._pairs, self._journal_file = folder / PAIRS, folder / JOURNAL
        self._entries: dict[str, Entry] = {}
        self._repeats = False
        self._journal: Journal | None = None
        self._files: dict[Path, BinaryIO] = {}
        self._open = ExitStack()
        self.recorded_ns = min(
            (file.stat().st_mtime_ns for file in self._sources()), default=0
        )  # when earlier runs last recorded a pair

    def read(self) -> Iterator[PairRecord]:
        """Go through what earlier runs recorded of each pair, and remember where it stands.

        Raises
        ------
        DpedkitError
            If a record is damaged.
        """
        newest = {}
        if self._journal_file.exists():
            newest = {values.get("name"): start for start, values in each_line(self._journal_file)}
        for file in self._sources():
            in_journal = file == self._journal_file
            for start, values in each_line(file):
                name = values.get("name")
                if newest.get(name) != start if in_journal else name in newest:
                    continue
                record = PairRecord.from_dict(values, file)
                self._repeats |= record.name in self._entries
                self._remember(record, in_journal, start)
                yield record

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def get(self, name: str) -> PairRecord | None:
        """The record of a pair, read from its file."""
        entry = self._entries.get(name)
        return None if entry is None else self._record(entry)

    def is_settled(self, names: Iterable[str]) -> bool:
        """Whether `pairs.jsonl` holds just the records of these pairs, in this order."""
        if self._repeats or self._journal_file.exists():
            return False
        places = [(entry.index, entry.name) for entry in self._entries.values()]
        return places == [*enumerate(names)]

    def append(self, record: PairRecord) -> None:
        """Record a pair; once this returns, a killed process no longer loses it."""
        if self._journal is None:
            self._journal = self._open.enter_context(Journal(self._journal_file))
        self._remember(record, True, self._journal.append(record.to_dict()))

    def records(self, names: Iterable[str]) -> Iterator[PairRecord]:
        """The records of these pairs, numbered in this order."""
        for index, name in enumerate(names):
            yield replace(self._record(self._entries[name]), index=index)

    def settle(self, names: Iterable[str]) -> None:
        """Write `pairs.jsonl` with the records of these pairs, numbered in this order."""
        with complete_or_absent(self._pairs) as part:
            with part.open("wb") as target:
                for index, name in enumerate(names):
                    entry = self._entries[name]
                    if entry.index == index:
                        target.write(self._line(entry))
                    else:
                        record = replace(self._record(entry), index=index)
                        target.write(json_line(record.to_dict()))
            self._close()  # a file that is open cannot be replaced everywhere

    def drop_journal(self) -> None:
        """Remove the journal, when all that is in it is in `pairs.jsonl`."""
        self._close()
        self._journal_file.unlink(missing_ok=True)

    def _sources(self) -> list[Path]:
        return [file for file in (self._journal_file, self._pairs) if file.exists()]

    def _remember(self, record: PairRecord, in_journal: bool, start: int) -> None:
        warnings = record.warnings[1:] if record.accepted_by_hand else record.warnings
        self._entries[record.name] = Entry(
            record.index,
            record.name,
            record.accepted,
            record.reason,
            record.accepted_by_hand,
            next(iter(warnings), ""),
            record.evidence.get("residual_median"),
            in_journal,
            start,
        )

    def _line(self, entry: Entry) -> bytes:
        path = self._journal_file if entry.in_journal else self._pairs
        if path not in self._files:
            self._files[path] = self._open.enter_context(path.open("rb"))
        return line_at(self._files[path], entry.start)

    def _record(self, entry: Entry) -> PairRecord:
        path = self._journal_file if entry.in_journal else self._pairs
        return PairRecord.from_dict(json.loads(self._line(entry)), path)

    def _close(self) -> None:
        self._open.close()
        self._files.clear()
        self._journal = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._open.__exit__(*raised)
