"""Pair photos by their file names, or by their order."""

from __future__ import annotations

import re
from pathlib import Path

from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import counted
from dpedkit.pairing.config import PairingConfig
from dpedkit.pairing.pairing import Pairing, check_names, first_few, photos_of, same_name

_PREFIX = re.compile(r"^\D*")


def pair_by_name(phone_folder: Path, dslr_folder: Path, config: PairingConfig) -> Pairing:
    """Pair photos whose names are the same without the suffix, in any case.

    With `strip_prefix` or `name_pattern` only a part of each name counts; photos whose names do
    not have that part have no partner.

    Raises
    ------
    DpedkitError
        If a folder is missing or holds no photo, if two photos of one folder have the same name,
        or if no pair is found.
    """
    (phone_photos, phone_aside), (dslr_photos, dslr_aside) = map(
        photos_of, (phone_folder, dslr_folder)
    )
    phones, dslrs = _by_key(phone_photos, config), _by_key(dslr_photos, config)
    if not phones.keys() & dslrs.keys():
        whole = config.name_pattern is None and not config.strip_prefix
        what = "name" if whole else "part of its name"
        raise DpedkitError(
            f"No photo in {phone_folder} ({first_few(phone_photos)}) has the same {what} as one in "
            f"{dslr_folder} ({first_few(dslr_photos)}). Rename them, or see --pair-by and "
            "--strip-prefix."
        )
    pairs = [(dslrs[key].stem, path, dslrs[key]) for key, path in phones.items() if key in dslrs]
    check_names(pairs)
    partners = {path for _, *both in pairs for path in both}
    return Pairing(
        pairs,
        [path for path in phone_photos if path not in partners],
        [path for path in dslr_photos if path not in partners],
        set_aside=phone_aside + dslr_aside,
    )


def pair_by_order(phone_folder: Path, dslr_folder: Path) -> Pairing:
    """Pair the first photo of a folder with the first of the other, and so on, by their names.

    Raises
    ------
    DpedkitError
        If a folder is missing or holds no photo, or if one holds more photos than the other: then
        one is missing somewhere, and all after it would be paired wrongly.
    """
    (phones, phone_aside), (dslrs, dslr_aside) = map(photos_of, (phone_folder, dslr_folder))
    if len(phones) != len(dslrs):
        raise DpedkitError(
            f"{phone_folder} holds {counted(len(phones), 'photo')} and {dslr_folder} "
            f"{counted(len(dslrs), 'photo')}; pairing by order needs the same number in both. "
            "--pair-by time copes with missing photos."
        )
    pairs = [(dslr.stem, phone, dslr) for phone, dslr in zip(phones, dslrs, strict=True)]
    check_names(pairs)
    return Pairing(pairs, [], [], set_aside=phone_aside + dslr_aside)


def _by_key(photos: list[Path], config: PairingConfig) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in photos:
        key = _key(path.stem, config)
        if key is None:
            continue
        other = found.setdefault(key, path)
        if other != path:
            raise same_name(path.parent, other, path)
    return found


def _key(stem: str, config: PairingConfig) -> str | None:
    """The part of a name that decides; None where it has none."""
    if config.name_pattern is not None:
        found = re.search(config.name_pattern, stem)
        if found is None:
            return None
        stem = (found[1] if found.re.groups else found[0]) or ""
    elif config.strip_prefix:
        stem = _PREFIX.sub("", stem, count=1).lstrip("0") or stem
    return stem.casefold() or None
