"""What a person decided about pairs after looking at them: `dpedkit align --decisions FILE`.

The file is CSV in UTF-8 as the report of aligned pairs lets one download it, a pair a line:

    name,decision,note
    0007,rejected,a tram drove by
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from dpedkit.core import console
from dpedkit.core.errors import DpedkitError
from dpedkit.core.lists import read_list
from dpedkit.core.records import BY_HAND, REJECTED, PairRecord, SourcePhoto
from dpedkit.core.wording import some

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
    unknown = sorted(rejected.keys() - set(names))
    if unknown:
        listed = some(unknown, _NAMED_UNKNOWN)
        console.warn(f"{file} names pairs that are not there: {listed}.")
    return rejected


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
    return replace(before, index=index, status=REJECTED, reason=reason, warnings=())


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
