"""Which files are photos, and the photos of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from dpedkit.core.errors import DpedkitError
from dpedkit.core.regular import would_wait

HEIF_SUFFIXES = (".heic", ".heif", ".hif")
RAW_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".arw")
PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif", ".bmp"),
    *HEIF_SUFFIXES,
    *RAW_SUFFIXES,
)

# The library that a kind of photo needs besides Pillow; the extra 'photos' brings them.
_LIBRARIES = {
    **dict.fromkeys(HEIF_SUFFIXES, "pillow_heif"),
    **dict.fromkeys(RAW_SUFFIXES, "rawpy"),
}


def list_photos(folder: str | Path) -> list[Path]:
    """The photo files in a folder (not below it), sorted by name; hidden files are left out.

    Raises
    ------
    DpedkitError
        If the folder is missing, is a file, holds no photos, or holds a broken link, a pipe, or
        photos that need a library which is not installed.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DpedkitError(f"{folder}: there is no such folder.")
    if not folder.is_dir():
        raise DpedkitError(f"{folder} is a file; give the folder that holds the photos.")
    with os.scandir(folder) as found_entries:
        entries = sorted(found_entries, key=lambda entry: entry.name)
    photos = []
    for entry in entries:
        if not _is_photo_name(entry.name) or entry.is_dir():
            continue
        photos.append(folder / entry.name)
        if not entry.is_file(follow_symlinks=False):  # the others, files, need no look
            _refuse_what_is_no_file(photos[-1])
    if not photos:
        found = ", ".join(entry.name for entry in entries[:3]) or "it is empty"
        raise DpedkitError(
            f"{folder} holds no photos ({found}); supported are {', '.join(PHOTO_SUFFIXES)}."
        )
    require_libraries(photos)
    return photos


def is_photo_name(path: Path) -> bool:
    """Whether a file's name is that of a readable photo."""
    return _is_photo_name(path.name)


def _is_photo_name(name: str) -> bool:
    return name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith(".")


def _refuse_what_is_no_file(path: Path) -> None:
    if not path.exists():
        raise DpedkitError(
            f"{path} is a link to {path.readlink()}, which does not exist; repair or remove it."
        )
    if would_wait(path):
        raise DpedkitError(f"{path} is not a regular file; remove it.")


def require_libraries(photos: Iterable[Path]) -> None:
    """Raise DpedkitError, with the line that installs it, if a photo needs a missing library."""
    for path in photos:
        library = _LIBRARIES.get(path.suffix.lower())
        if library and find_spec(library) is None:
            raise missing_library(path)


def missing_library(path: Path) -> DpedkitError:
    """What to say of a photo whose library is not installed."""
    return DpedkitError(
        f"{path.name} needs libraries that are not installed; install them with: "
        "pip install 'dpedkit[photos]'"
    )
