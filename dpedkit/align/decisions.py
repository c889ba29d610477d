"""Pairs that a person rejected after looking at them: `dpedkit align --decisions FILE`.

The file is a UTF-8 CSV, as downloaded from the report of aligned pairs, with one pair per line:

    name,decision,note
    0007,rejected,a tram drove by

The decisions are saved with the aligned photos, in `decisions.csv`, and apply until another file is
given. A pair is restored by a file without its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from dpedkit.core import console
from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.details import DETAILS
from dpedkit.core.errors import DpedkitError
from dpedkit.core.lists import read_list
from dpedkit.core.manifest import each_line
from dpedkit.core.records import BY_HAND, REJECTED, PairRecord, SourcePhoto
from dpedkit.core.wording import counted

KEPT_DECISIONS = "decisions.csv"
_HEADER = ["name", "decision", "note"]
_NAMED_UNKNOWN = 5


def read_decisions(file: Path | None, names: Collection[str]) -> dict[str, str]:
    """The rejected pairs, each with its note.

    Empty lines and lines that start with # are skipped; the note is optional. Names of pairs that
    do not exist are listed in a warning, since they may be misspelt.

    Parameters
    ----------
    file : Path or None
        None stands for no decisions.
    names : collection of str
        Names of all pairs.

    Raises
    ------
    DpedkitError
        If the file is missing or not a text file, or a line is not a decision.
    """
    if file is None:
        return {}
    rejected = _read(file)
    unknown = sorted(rejected.keys() - set(names))
    if unknown:
        more = len(unknown) - _NAMED_UNKNOWN
        listed = ", ".join(unknown[:_NAMED_UNKNOWN]) + (f" and {more} more" if more > 0 else "")
        console.warn(f"{file} names pairs that do not exist: {listed}.")
    return rejected


def _read(file: Path) -> dict[str, str]:
    rejected = {}
    for number, cells in read_list(file):
        name, decision, note = [*cells, "", ""][:3]
        if [name, decision] == _HEADER[:2]:
            continue
        if decision != REJECTED:
            raise DpedkitError(
                f"{file}, line {number}: '{decision}' is not a decision; write NAME,{REJECTED} "
                "(removing the line restores the pair)."
            )
        rejected[name] = note
    return rejected


def kept_decisions(folder: Path, names: Collection[str]) -> dict[str, str]:
    """The decisions of an earlier run in this aligned folder, which are also reported.

    Raises
    ------
    DpedkitError
        If `decisions.csv` is damaged.
    """
    file = folder / KEPT_DECISIONS
    if not file.is_file():
        return _recorded(folder)
    decisions = _read(file)
    held = len(decisions.keys() & set(names))
    if held:
        console.say(
            f"{counted(held, 'pair')} still rejected by hand (see {file}); to restore a pair, give "
            "a list without it: --decisions FILE"
        )
    return decisions


def keep_decisions(folder: Path, decisions: Mapping[str, str]) -> None:
    """Save the decisions in the aligned folder.

    Raises
    ------
    DpedkitError
        If the folder is not writable, or the disk is full.
    """
    file = folder / KEPT_DECISIONS
    if not decisions and not file.exists():
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows((name, REJECTED, note) for name, note in sorted(decisions.items()))
    content = text.getvalue().encode()
    if file.is_file() and file.read_bytes() == content:
        return
    with complete_or_absent(file) as part:
        part.write_bytes(content)


def _recorded(folder: Path) -> dict[str, str]:
    """The decisions in the records of an earlier version, which had no `decisions.csv`."""
    file = folder / "pairs.jsonl"
    if not file.is_file():
        return {}
    lines = each_line(file, containing=BY_HAND.encode())  # few of many thousands
    records = [PairRecord.from_dict(values, file) for _, values in lines]
    return {
        record.name: record.reason.removeprefix(BY_HAND).removeprefix(": ")
        for record in records
        if record.rejected_by_hand
    }


def rejected_by_hand(
    index: int, name: str, photos: tuple[Path, Path], note: str, before: PairRecord | None
) -> PairRecord:
    """The record of a pair rejected by hand; it keeps the measurements of an earlier run.

    Parameters
    ----------
    index, name
        Of the pair.
    photos : tuple of Path
        Of the phone and of the DSLR.
    note : str
        The person's reason; may be empty.
    before : PairRecord or None
        The record of the same two files from an earlier run, if any.
    """
    reason = f"{BY_HAND}: {note}" if note else BY_HAND
    if before is None:
        phone, dslr = map(SourcePhoto.of, photos)
        return PairRecord(index, name, REJECTED, reason, phone, dslr)
    details = {name: file for name, file in before.files.items() if name == DETAILS}
    return replace(before, index=index, status=REJECTED, reason=reason, warnings=(), files=details)


def decided(
    decisions: Mapping[str, str],
    pairs: Iterable[tuple[str, Path, Path]],
    before: Callable[[str], PairRecord | None],
) -> dict[str, PairRecord]:
    """The records of the pairs (name, phone photo, DSLR photo) that a person rejected.

    `before` gives what an earlier run recorded of a pair.
    """
    records = {}
    for index, (name, phone, dslr) in enumerate(pairs):
        if name in decisions:
            known = before(name)
            if known is not None and not known.made_from(phone, dslr):
                known = None
            records[name] = rejected_by_hand(index, name, (phone, dslr), decisions[name], known)
    return records
