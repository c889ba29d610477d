"""What an earlier run left of a folder that still holds: the same photos, and whole files.

Every run asks this of every pair, so it takes a few system calls each and opens no file.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpedkit.align.decisions import Decision, stands
from dpedkit.align.ledger import Ledger
from dpedkit.core import console
from dpedkit.core.details import DETAILS
from dpedkit.core.filestate import names_in, state_of
from dpedkit.core.records import PHONE_THUMBNAILS, THUMBNAILS, PairRecord, WrittenFile

SIDES = ("phone", "dslr")
LOST = "not aligned"  # how the reason of a pair begins whose process died
_OF_ACCEPTED = (*SIDES, PHONE_THUMBNAILS)


@dataclass
class Finished:
    """What need not be done again.

    Attributes
    ----------
    names : set of str
        Of the pairs.
    looked : bool
        Whether files were compared with their SHA-256, because they changed after they were
        recorded.
    """

    names: set[str] = field(default_factory=set)
    looked: bool = False


def finished_pairs(
    ledger: Ledger,
    photos: Mapping[str, tuple[Path, Path]],
    decisions: Mapping[str, Decision],
    folder: Path,
    suffix: str,
) -> Finished:
    """The pairs that an earlier run finished, and whose photos and files are as they were.

    Parameters
    ----------
    ledger : Ledger
        Not read yet.
    photos : mapping
        The pairs in question: the phone's and the DSLR's photo by the pair's name.
    decisions : mapping
        What a person decided about pairs, by name.
    folder : Path
        The aligned folder.
    suffix : str
        Of its images; empty where none are written.
    """
    finished = Finished()
    for record in ledger.read():
        both = photos.get(record.name)
        if both is None or record.reason.startswith(LOST):
            continue
        if not stands(record, decisions.get(record.name)):
            continue
        if record.made_from(*both) and _is_whole(record, folder, suffix, ledger, finished):
            finished.names.add(record.name)
    return finished


def _is_whole(
    record: PairRecord, folder: Path, suffix: str, ledger: Ledger, finished: Finished
) -> bool:
    """Whether all files of a pair are there as they were written."""
    # Earlier versions made no thumbnails; `patches` then takes the originals.
    needed = {DETAILS, *(SIDES if suffix else ())}
    if record.accepted and not needed <= record.files.keys():
        return False
    suffixes = {DETAILS: "json", PHONE_THUMBNAILS: "png"}
    for name, written in record.files.items():
        path = f"{folder}/{name}/{record.name}.{suffixes.get(name, suffix)}"
        state = state_of(path)
        if state is None:
            return False
        sound = state.st_size == written.size
        if sound and state.st_mtime_ns > ledger.recorded_ns:
            finished.looked = True
            sound = written == WrittenFile.of(Path(path))
        if not sound:
            console.say(f"{record.name}: {path} is damaged, so the pair is aligned again")
            return False
    return True


def strays(folder: Path, names: Container[str], by_hand: Container[str]) -> list[Path]:
    """Files of pairs that are left out now, and unfinished files of a killed run.

    Parameters
    ----------
    folder : Path
    names : container of str
        Of all pairs; those that a person rejected have no images and no thumbnail.
    by_hand : container of str
        Those.
    """
    found = []
    for place in (*_OF_ACCEPTED, DETAILS, THUMBNAILS):
        for name in names_in(folder / place):
            stem = name.rpartition(".")[0]
            if stem in names and not (place in _OF_ACCEPTED and stem in by_hand):
                continue
            path = folder / place / name
            if not path.is_dir():  # as file servers leave them
                found.append(path)
    return found
