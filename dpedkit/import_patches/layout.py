"""Where patch pairs lie in the folders of DPED, and which files belong together."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import some
from dpedkit.images import is_photo_name
from dpedkit.shards.dped import DSLR_FOLDER, SPLIT_FOLDERS

_MARKS = (SPLIT_FOLDERS["train"], SPLIT_FOLDERS["test"])  # either makes a phone's folder
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class PatchFiles:
    """The files of one split: two folders, and the names of the files in them, pair by pair.

    Attributes
    ----------
    phone, dslr : Path
    names : sequence of (str, str)
        File names of the phone and of the DSLR patch. Numbers in names are ordered as numbers:
        patch 10 comes after patch 9.
    """

    phone: Path
    dslr: Path
    names: Sequence[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.names)

    def paths(self, number: int) -> tuple[Path, Path]:
        """The two files of a pair, counted from 0."""
        phone, dslr = self.names[number]
        return self.phone / phone, self.dslr / dslr


def find_patches(folder: Path, dslr_folder: Path | None, split: str) -> dict[str, PatchFiles]:
    """The patch pairs below a folder by split, or those of two plain folders.

    Parameters
    ----------
    folder : Path
        A phone's folder of DPED (it holds `training_data` or `test_data`), the folder that holds
        only that one, a folder with a phone's folder and `canon` in it, or, with `dslr_folder`,
        the phone's patches themselves.
    dslr_folder : Path or None
        The DSLR's patches.
    split : str
        Where the patches of plain folders go.

    Raises
    ------
    DpedkitError
        If a folder is missing, is none of these, or the names of its two sides do not match.
    """
    for path in (folder, dslr_folder):
        if path is not None and path.is_file():
            raise DpedkitError(f"{path} is a file; give the folder that it is in.")
        if path is not None and not path.is_dir():
            raise DpedkitError(f"{path}: there is no such folder.")
    files = _find(folder, dslr_folder, split)
    if not any(map(len, files.values())):
        raise DpedkitError(f"{folder} holds no patches.")
    return files


def _find(folder: Path, dslr_folder: Path | None, split: str) -> dict[str, PatchFiles]:
    if dslr_folder is not None:
        return {split: _matched(folder, dslr_folder)}
    homes = [folder, *_folders_in(folder)]
    found = [home for home in homes if any((home / part).is_dir() for part in _MARKS)]
    if len(found) > 1:
        raise DpedkitError(
            f"{folder} holds several phones ({', '.join(home.name for home in found)}); import "
            f"them one by one, for example {found[0]}."
        )
    if found:
        places = {s: found[0] / part for s, part in SPLIT_FOLDERS.items()}
        return {s: _matched(*_two_sides(place)) for s, place in places.items() if place.is_dir()}
    if (folder / DSLR_FOLDER).is_dir():
        return {split: _matched(*_two_sides(folder))}
    raise DpedkitError(
        f"{folder} does not have the folders of DPED (PHONE/training_data/{{PHONE,{DSLR_FOLDER}}}, "
        f"PHONE/test_data/patches/{{PHONE,{DSLR_FOLDER}}}); for any other layout give two folders "
        "of patches, the phone's and the DSLR's."
    )


def identity(files: Mapping[str, PatchFiles]) -> str:
    """A short hash of the names, sizes and times of all files, to notice when they change."""
    digest = hashlib.sha256()
    for split, patches in files.items():
        for side, folder in enumerate((patches.phone, patches.dslr)):
            with os.scandir(folder) as entries:
                states = {entry.name: entry.stat() for entry in entries}
            for names in patches.names:
                state = states[names[side]]
                line = f"{split} {names[side]} {state.st_size} {state.st_mtime_ns}\n"
                digest.update(line.encode())
    return digest.hexdigest()[:16]


def _folders_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _two_sides(place: Path) -> tuple[Path, Path]:
    """The phone's and the DSLR's folder in the folder of a split."""
    others = [path for path in _folders_in(place) if path.name != DSLR_FOLDER]
    if not (place / DSLR_FOLDER).is_dir() or len(others) != 1:
        names = ", ".join(path.name for path in _folders_in(place)) or "none"
        raise DpedkitError(
            f"{place} must hold two folders, the phone's patches and {DSLR_FOLDER}; it holds "
            f"{names}."
        )
    return others[0], place / DSLR_FOLDER


def _matched(phone: Path, dslr: Path) -> PatchFiles:
    """The patches of two folders, paired by their names without suffix."""
    sides = [_by_stem(phone), _by_stem(dslr)]
    lonely = [sorted(a.keys() - b.keys(), key=_in_order) for a, b in (sides, sides[::-1])]
    if any(lonely):
        told = "; ".join(
            f"only in {folder}: {some(names)}"
            for folder, names in zip((phone, dslr), lonely, strict=True)
            if names
        )
        raise DpedkitError(
            f"The patches of {phone} and {dslr} do not match by name ({told}). Is a copy or "
            "download incomplete?"
        )
    stems = sorted(sides[0], key=_in_order)
    return PatchFiles(phone, dslr, [(sides[0][stem], sides[1][stem]) for stem in stems])


def _by_stem(folder: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    with os.scandir(folder) as entries:
        files = [entry.name for entry in entries if entry.is_file()]
    for file in files:
        if not is_photo_name(Path(file)):
            continue
        stem = Path(file).stem
        if stem in names:
            both = " and ".join(sorted((names[stem], file)))
            raise DpedkitError(f"{folder} holds both {both}; keep only one of them.")
        names[stem] = file
    return names


def _in_order(name: str) -> list[tuple[int, int, str]]:
    """A sort key by which numbers in names count as numbers."""
    parts = _DIGITS.split(name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
