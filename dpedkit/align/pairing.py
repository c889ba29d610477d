"""Which phone photo belongs to which DSLR photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpedkit.errors import DpedkitError
from dpedkit.images import list_photos

_SHOWN = 3


@dataclass(frozen=True)
class Pairing:
    """Photos of two folders, paired.

    Attributes
    ----------
    pairs : list of (name, phone file, DSLR file)
        Sorted by name.
    unpaired_phone, unpaired_dslr : list of Path
        Photos without a partner.
    """

    pairs: list[tuple[str, Path, Path]]
    unpaired_phone: list[Path]
    unpaired_dslr: list[Path]


def pair_by_name(phone_folder: Path, dslr_folder: Path) -> Pairing:
    """Pair photos whose file names are the same without the suffix, in any case.

    The pair takes the name of the phone photo.

    Raises
    ------
    DpedkitError
        If a folder is missing or holds no photo, if two photos of one folder have the same name,
        or if no pair is found.
    """
    phones, dslrs = _by_stem(phone_folder), _by_stem(dslr_folder)
    shared = sorted(phones.keys() & dslrs.keys())
    if not shared:
        raise DpedkitError(
            f"No photo in {phone_folder} ({_first_few(phones)}) has the same name as one in "
            f"{dslr_folder} ({_first_few(dslrs)}). Rename the photos so that the two of one scene "
            "share a name."
        )
    return Pairing(
        [(phones[stem].stem, phones[stem], dslrs[stem]) for stem in shared],
        [path for stem, path in phones.items() if stem not in dslrs],
        [path for stem, path in dslrs.items() if stem not in phones],
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    photos: dict[str, Path] = {}
    for path in list_photos(folder):
        other = photos.setdefault(path.stem.casefold(), path)
        if other != path:
            raise DpedkitError(
                f"{folder} holds {other.name} and {path.name}, which have the same name; keep one "
                "of them."
            )
    return photos


def _first_few(photos: dict[str, Path]) -> str:
    names = [path.name for path in photos.values()]
    more = f", ... {len(names)} in all" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
