"""Which phone photo belongs to which DSLR photo: the result of every pairing method."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dpedkit.core.errors import DpedkitError
from dpedkit.images import RAW_SUFFIXES, list_photos
from dpedkit.pairing.clocks import ClockOffset

_SHOWN = 3
_PARTS = re.compile(r"\d+|\D+")


@dataclass(frozen=True)
class Pairing:
    """Photos of two folders, paired.

    Attributes
    ----------
    pairs : list of (name, phone file, DSLR file)
        Each is named after its DSLR photo. If several phones are paired with the same DSLR, pairs
        of the same scene then have the same name, and so the same split.
    unpaired_phone, unpaired_dslr : list of Path
        Photos without a partner.
    undecided : list of (list of Path, list of Path)
        Groups of unpaired phone and DSLR photos that may belong together in several ways.
    untimed : list of Path
        Unpaired photos without a time, if photos are paired by time.
    set_aside : list of Path
        Camera RAW files that are not used because there is a developed photo of the same name.
    clock : ClockOffset or None
        The difference between the cameras' clocks, if the photos are paired by time.
    """

    pairs: list[tuple[str, Path, Path]]
    unpaired_phone: list[Path]
    unpaired_dslr: list[Path]
    undecided: list[tuple[list[Path], list[Path]]] = field(default_factory=list)
    untimed: list[Path] = field(default_factory=list)
    set_aside: list[Path] = field(default_factory=list)
    clock: ClockOffset | None = None

    def alone(self, photos: list[Path]) -> list[Path]:
        """The unpaired photos among these that are in no undecided group."""
        possible = {path for group in self.undecided for side in group for path in side}
        return [path for path in photos if path not in possible]


def photos_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """The photos of a folder to pair, in the order of their names, and those set aside.

    Numbers in names count as numbers: IMG_9 comes before IMG_10.

    Raises
    ------
    DpedkitError
        As `list_photos`.
    """
    photos = sorted(list_photos(folder), key=_natural)
    raw = {path for path in photos if _is_raw(path)}
    if not raw:
        return photos, []
    developed = {path.stem.casefold() for path in photos if path not in raw}
    used: list[Path] = []
    aside: list[Path] = []
    for path in photos:
        twin = path in raw and path.stem.casefold() in developed
        (aside if twin else used).append(path)
    return used, aside


def check_names(pairs: list[tuple[str, Path, Path]]) -> None:
    """Raise DpedkitError if two pairs would have the same name, so one file for both."""
    taken: dict[str, Path] = {}
    for name, _, dslr in pairs:
        other = taken.setdefault(name.casefold(), dslr)
        if other != dslr:
            raise same_name(dslr.parent, other, dslr)


def same_name(folder: Path, one: Path, other: Path) -> DpedkitError:
    """The error for two photos of the same name."""
    return DpedkitError(
        f"{folder} holds {one.name} and {other.name}, which have the same name; keep one of them."
    )


def first_few(photos: list[Path]) -> str:
    """The names of a few photos, and how many there are."""
    names = [path.name for path in photos]
    more = f", ... {len(names)} in total" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _is_raw(path: Path) -> bool:
    return path.name.lower().endswith(RAW_SUFFIXES)


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = _PARTS.findall(path.stem.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.name
