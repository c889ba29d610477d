"""What a person decided about pairs after looking at them: `dpedkit align --decisions FILE`.

The file is CSV in UTF-8 as the report of aligned pairs lets one download it, a pair a line:

    name,decision,note
    0007,rejected,a tram drove by

They are kept with the aligned photos, in `decisions.csv`, and hold until another file is given: a
pair comes back when a file without its line is given.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from dpedkit.core import console
from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.errors import DpedkitError
from dpedkit.core.lists import read_list
from dpedkit.core.manifest import read_jsonl
from dpedkit.core.records import BY_HAND, REJECTED, PairRecord, SourcePhoto

KEPT_DECISIONS = "decisions.csv"
_HEADER = ["name", "decision", "note"]
_NAMED_UNKNOWN = 5


def read_decisions(file: Path | None, names: Collection[str]) -> dict[str, str]:
    """The pairs that a person rejected, each with the note that was written beside it.

    Empty lines and lines that begin with # are skipped; the note may be left out. Decisions about
    pairs that do not exist are named in a warning: with a misspelt name nothing would be done.

    Parameters
    ----------
    file : Path or None
        None decides nothing.
    names : collection of str
        Of the pairs that there are.

    Raises
    ------
    DpedkitError
        If the file is missing or no text, or a line is no decision.
    """
    if file is None:
        return {}
    rejected = _read(file)
    unknown = sorted(rejected.keys() - set(names))
    if unknown:
        more = len(unknown) - _NAMED_UNKNOWN
        listed = ", ".join(unknown[:_NAMED_UNKNOWN]) + (f" and {more} more" if more > 0 else "")
        console.warn(f"{file} names pairs that are not there: {listed}.")
    return rejected


def _read(file: Path) -> dict[str, str]:
    rejected = {}
    for number, cells in read_list(file):
        name, decision, note = [*cells, "", ""][:3]
        if [name, decision] == _HEADER[:2]:
            continue
        if decision != REJECTED:
            raise DpedkitError(
                f"{file}, line {number}: '{decision}' is no decision; write: NAME,{REJECTED} (a "
                "pair is accepted again when its line is removed)."
            )
        rejected[name] = note
    return rejected


def kept_decisions(folder: Path, names: Collection[str]) -> dict[str, str]:
    """What was decided in an earlier run in this aligned folder, and is told again.

    Raises
    ------
    DpedkitError
        If the file that keeps it is damaged.
    """
    file = folder / KEPT_DECISIONS
    if not file.is_file():
        return _recorded(folder)
    decisions = _read(file)
    held = len(decisions.keys() & set(names))
    if held:
        console.say(
            f"{held} pair{'' if held == 1 else 's'} stay{'s' if held == 1 else ''} rejected by "
            f"hand, see {file}; to take one back, give a list without it: --decisions FILE"
        )
    return decisions


def keep_decisions(folder: Path, decisions: Mapping[str, str]) -> None:
    """Write the decisions that hold from now on into the aligned folder.

    Raises
    ------
    DpedkitError
        If the folder may not be written to, or the disk is full.
    """
    file = folder / KEPT_DECISIONS
    if not decisions and not file.exists():
        return
    with complete_or_absent(file) as part, part.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows((name, REJECTED, note) for name, note in sorted(decisions.items()))


def _recorded(folder: Path) -> dict[str, str]:
    """The decisions by the records of an earlier version, which kept them nowhere else."""
    file = folder / "pairs.jsonl"
    if not file.is_file():
        return {}
    records = [PairRecord.from_dict(values, file) for values in read_jsonl(file)]
    return {
        record.name: record.reason.removeprefix(BY_HAND).removeprefix(": ")
        for record in records
        if record.rejected_by_hand
    }


def rejected_by_hand(
    index: int, name: str, photos: tuple[Path, Path], note: str, before: PairRecord | None
) -> PairRecord:
    """The record of a pair that a person rejected; what was measured of it earlier stays in it.

    Parameters
    ----------
    index, name
        Of the pair.
    photos : tuple of Path
        The phone's and the DSLR's.
    note : str
        The person's own reason; may be empty.
    before : PairRecord or None
        The record of the same two files by an earlier run, if there is one.
    """
    reason = f"{BY_HAND}: {note}" if note else BY_HAND
    if before is None:
        phone, dslr = map(SourcePhoto.of, photos)
        return PairRecord(index, name, REJECTED, reason, phone, dslr)
    return replace(before, index=index, status=REJECTED, reason=reason, warnings=(), files={})


def decided(
    decisions: Mapping[str, str],
    pairs: Iterable[tuple[str, Path, Path]],
    before: Mapping[str, PairRecord],
) -> dict[str, PairRecord]:
    """The records of all pairs, given as name, phone and DSLR photo, that a person rejected."""
    records = {}
    for index, (name, phone, dslr) in enumerate(pairs):
        if name in decisions:
            known = before.get(name)
            if known is not None and not known.made_from(phone, dslr):
                known = None
            records[name] = rejected_by_hand(index, name, (phone, dslr), decisions[name], known)
    return records
