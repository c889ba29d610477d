"""Pair photos by a list that a person wrote: CSV, one phone photo and one DSLR photo per line."""

from __future__ import annotations

import csv
from pathlib import Path

from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.errors import DpedkitError
from dpedkit.core.lists import read_list
from dpedkit.pairing.pairing import Pairing, check_names, photos_of

_HEADER = ("phone", "dslr")


def pair_by_csv(phone_folder: Path, dslr_folder: Path, file: Path) -> Pairing:
    """Pair the photos that a file lists.

    The file is CSV in UTF-8, with commas or semicolons, in each line the name of a phone photo and
    that of its DSLR photo, within the two folders. A first line 'phone,dslr', empty lines, and
    lines that begin with # are skipped.

    Raises
    ------
    DpedkitError
        If the file or a folder is missing, or a line does not name two photos that are there and
        not listed before.
    """
    (phones, phone_aside), (dslrs, dslr_aside) = map(photos_of, (phone_folder, dslr_folder))
    sides = [
        {path.name: path for path in [*photos, *aside]}
        for photos, aside in ((phones, phone_aside), (dslrs, dslr_aside))
    ]
    pairs: list[tuple[str, Path, Path]] = []
    listed: set[Path] = set()
    for number, names in _lines(file):
        both = []
        for name, known, folder in zip(names, sides, (phone_folder, dslr_folder), strict=True):
            path = known.get(name)
            if path is None:
                raise DpedkitError(f"{file}, line {number}: there is no photo {name} in {folder}.")
            if path in listed:
                raise DpedkitError(f"{file}, line {number}: {name} is already listed.")
            listed.add(path)
            both.append(path)
        pairs.append((both[1].stem, both[0], both[1]))
    if not pairs:
        raise DpedkitError(f"{file} lists no pairs; write one per line: phone photo, DSLR photo.")
    check_names(pairs)
    return Pairing(
        pairs,
        [path for path in phones if path not in listed],
        [path for path in dslrs if path not in listed],
        set_aside=[path for path in phone_aside + dslr_aside if path not in listed],
    )


def write_csv(file: Path, pairing: Pairing) -> None:
    """Write a pairing as `pair_by_csv` reads it; what is undecided follows as comments.

    Raises
    ------
    DpedkitError
        If a photo's name cannot stand in a list, the folder may not be written to, or the disk is
        full.
    """
    listed = [names for _, *names in pairing.pairs]
    listed += [[*phones, *dslrs] for phones, dslrs in pairing.undecided]
    for photo in (photo for photos in listed for photo in photos):
        if not photo.name.isprintable() or not _is_text(photo.name):
            raise DpedkitError(
                f"{str(photo)!r} cannot be listed: its name is not a single line of UTF-8 text; "
                "rename it."
            )
    with complete_or_absent(file) as part, part.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows((phone.name, dslr.name) for _, phone, dslr in pairing.pairs)
        if pairing.undecided:
            target.write("# undecided: remove the # from the correct pairs\n")
        for phones, dslrs in pairing.undecided:
            for phone in phones:
                for dslr in dslrs:
                    target.write("# ")
                    writer.writerow((phone.name, dslr.name))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines(file: Path) -> list[tuple[int, list[str]]]:
    """The lines that name photos, with their numbers from 1."""
    found = []
    for number, names in read_list(file):
        if number == 1 and tuple(name.casefold() for name in names) == _HEADER:
            continue
        if len(names) != 2:
            raise DpedkitError(
                f"{file}, line {number}: '{','.join(names)}' does not name two photos; write: "
                "phone photo, DSLR photo."
            )
        found.append((number, names))
    return found
