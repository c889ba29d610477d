"""Where the photos of shards came from, without telling how somebody's computer is arranged.

Shards are made to be published. They name a photo by its folder and file, and tell two photos of
the same name apart by a hash of where they were; whole paths stay in the aligned folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

_DIGITS = 16


def photo_name(path: Path) -> str:
    """The last folder and the name: "canon/0001.jpg"."""
    return "/".join(path.absolute().parts[-2:])


def photo_id(path: Path | str) -> str:
    """What tells this photo from all others, by its whole path, however it was given."""
    path = Path(path)
    whole = Path(_real_folder(str(path.parent)), path.name)
    return hashlib.sha256(str(whole).encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


@lru_cache(maxsize=256)  # hundreds of thousands of patches lie in two folders
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def dslr_id(pair: Mapping[str, Any]) -> str:
    """What tells the DSLR photo of a line of `pairs.jsonl` from others.

    Earlier versions wrote its whole path instead.
    """
    return str(pair.get("dslr_id") or photo_id(pair["dslr"]))


def without_folders(text: str, paths: Iterable[Path | str]) -> str:
    """A sentence in which these files are named without the folders above their own."""
    for path in map(Path, paths):
        text = text.replace(str(path), photo_name(path))
    return text


def without_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which whole paths are cut down to the names of the files."""
    return {name: _name_alone(value) for name, value in settings.items()}


def _name_alone(value: Any) -> Any:
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value
