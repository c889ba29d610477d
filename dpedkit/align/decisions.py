"""Pairs that a person rejected or accepted by hand: `dpedkit align --decisions FILE`.

The file is a UTF-8 CSV, as downloaded from the report of aligned pairs, with one pair per line:

    name,decision,note
    0007,rejected,a tram drove by
    0012,accepted,looked at: only the leaves moved

The decisions are saved with the aligned photos, in `decisions.csv`, and apply until another file is
given. A file without the line of a pair leaves it to the evidence again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dpedkit.core import console
from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.details import DETAILS
from dpedkit.core.errors import DpedkitError
from dpedkit.core.lists import read_list
from dpedkit.core.manifest import each_line
from dpedkit.core.records import (
    ACCEPTED,
    ACCEPTED_BY_HAND,
    BY_HAND,
    OTHERWISE,
    REJECTED,
    PairRecord,
    SourcePhoto,
)
from dpedkit.core.wording import counted

if TYPE_CHECKING:
    from dpedkit.align.pair import Alignment

_MIN_SIDE = 32  # px: the smallest crop that can be accepted by hand
CANNOT = "it cannot be accepted by hand"  # in the reason of a pair that stays rejected
KEPT_DECISIONS = "decisions.csv"
_HEADER = ["name", "decision", "note"]
_NAMED_UNKNOWN = 5


@dataclass(frozen=True)
class Decision:
    """What a person decided about a pair, and why; the note may be empty."""

    accepted: bool
    note: str = ""


def read_decisions(file: Path | None, names: Collection[str]) -> dict[str, Decision]:
    """The pairs that a person decided about, each with the decision.

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
    decisions = _read(file)
    unknown = sorted(decisions.keys() - set(names))
    if unknown:
        more = len(unknown) - _NAMED_UNKNOWN
        listed = ", ".join(unknown[:_NAMED_UNKNOWN]) + (f" and {more} more" if more > 0 else "")
        console.warn(f"{file} names pairs that do not exist: {listed}.")
    return decisions


def _read(file: Path) -> dict[str, Decision]:
    decisions = {}
    for number, cells in read_list(file):
        name, decision, note = [*cells, "", ""][:3]
        if [name, decision] == _HEADER[:2]:
            continue
        if decision not in (REJECTED, ACCEPTED):
            raise DpedkitError(
                f"{file}, line {number}: '{decision}' is not a decision; write NAME,{REJECTED} or "
                f"NAME,{ACCEPTED} (without the line, the evidence decides)."
            )
        decisions[name] = Decision(decision == ACCEPTED, note)
    return decisions


def kept_decisions(folder: Path, names: Collection[str]) -> dict[str, Decision]:
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
    known = set(names)
    held = [decision.accepted for name, decision in decisions.items() if name in known]
    for words, number in ((REJECTED, held.count(False)), (ACCEPTED, held.count(True))):
        if number:
            console.say(
                f"{counted(number, 'pair')} still {words} by hand (see {file}); to leave a pair to "
                "the evidence again, give a list without it: --decisions FILE"
            )
    return decisions


def keep_decisions(folder: Path, decisions: Mapping[str, Decision]) -> None:
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
    writer.writerows(
        (name, ACCEPTED if decision.accepted else REJECTED, decision.note)
        for name, decision in sorted(decisions.items(), key=lambda item: item[0])
    )
    content = text.getvalue().encode()
    if file.is_file() and file.read_bytes() == content:
        return
    with complete_or_absent(file) as part:
        part.write_bytes(content)


def _recorded(folder: Path) -> dict[str, Decision]:
    """The decisions in the records of an earlier version, which had no `decisions.csv`."""
    file = folder / "pairs.jsonl"
    if not file.is_file():
        return {}
    lines = each_line(file, containing=BY_HAND.encode())  # few of many thousands
    records = [PairRecord.from_dict(values, file) for _, values in lines]
    return {
        record.name: Decision(False, record.reason.removeprefix(BY_HAND).removeprefix(": "))
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


def accept_by_hand(alignment: Alignment, note: str) -> Alignment:
    """An alignment that was rejected, accepted because a person says so.

    It stays rejected, and its reason says why, if there is no map, or next to no overlap.
    """
    if alignment.map is None:
        return replace(alignment, reason=f"{alignment.reason}; {CANNOT}, since no map was found")
    width, height = alignment.crop[2:]
    if min(width, height) < _MIN_SIDE:
        cause = f"since the photos overlap by only {width} x {height} px"
        return replace(alignment, reason=f"{alignment.reason}; {CANNOT}, {cause}")
    words = f"{ACCEPTED_BY_HAND}: {note}" if note else ACCEPTED_BY_HAND
    warning = f"{words}{OTHERWISE}{alignment.reason})"
    return replace(alignment, reason="", warnings=(warning, *alignment.warnings))


def stands(record: PairRecord, decision: Decision | None) -> bool:
    """Whether the record of a pair that was tried is what the decision about it asks for."""
    if record.rejected_by_hand:
        return False
    if decision is None or not decision.accepted:
        return not (record.accepted_by_hand or CANNOT in record.reason)
    if record.accepted_by_hand:
        return record.note == decision.note
    return record.accepted or CANNOT in record.reason


def decided(
    decisions: Mapping[str, Decision],
    pairs: Iterable[tuple[str, Path, Path]],
    before: Callable[[str], PairRecord | None],
) -> dict[str, PairRecord]:
    """The records of the pairs (name, phone photo, DSLR photo) that a person rejected.

    `before` gives what an earlier run recorded of a pair.
    """
    records = {}
    for index, (name, phone, dslr) in enumerate(pairs):
        if name in decisions and not decisions[name].accepted:
            known = before(name)
            if known is not None and not known.made_from(phone, dslr):
                known = None
            note = decisions[name].note
            records[name] = rejected_by_hand(index, name, (phone, dslr), note, known)
    return records
