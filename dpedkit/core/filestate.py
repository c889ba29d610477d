"""Size and time of files, asked for by the hundred thousand.

On strings, since pathlib takes several times as long as the system call.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path


def state_of(path: str | Path) -> os.stat_result | None:
    """What the system says of a file; None where there is none, or none to be asked for."""
    try:
        return os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None


def spelt_in_one_way(path: str | Path) -> str:
    """The absolute path of a file, without links and detours; the file itself may be a link."""
    whole = os.fspath(path)
    name = whole.rpartition(os.sep)[2]
    return f"{_resolved(whole.removesuffix(name), os.getcwd())}{os.sep}{name}"  # noqa: PTH109


@functools.lru_cache(maxsize=64)
def _resolved(folder: str, working_folder: str) -> str:
    return str(Path(working_folder, folder).resolve()).rstrip(os.sep)


def names_in(folder: Path) -> list[str]:
    """The names of what is in a folder; none where there is no folder."""
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208
