"""Files that are complete or absent: written as `name.NUMBER.part`, then moved into place."""

from __future__ import annotations

import errno
import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dpedkit.core.errors import DpedkitError

PART_SUFFIX = ".part"
_PART_NAME = re.compile(r"(?P<target>.+)\.\d+\.part")
# Processes of different machines, and those of containers above all, can have the same number.
_OWN = f"{random.SystemRandom().randrange(10**6):06}"
_NO_SUCH_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)

_checks: list[Callable[[], None]] = []


@contextmanager
def complete_or_absent(path: Path) -> Iterator[Path]:
    """Yield the path to write to; on leaving the block without an error, move it to `path`.

    The data is on the disk before the name is: a power cut leaves the old file or the new one.
    After an error the unfinished file is removed. A process killed inside the block leaves its
    unfinished file, which `remove_unfinished` recognises; no two processes share one, so that a
    worker that outlives its killed run does not write into the file of the run that follows.

    Raises
    ------
    DpedkitError
        If the disk is full or the folder may not be written to.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}{_OWN}{PART_SUFFIX}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        for check in _checks:
            check()
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise explain_os_error(error, path) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def before_finishing(check: Callable[[], None]) -> None:
    """Have `check` called before any file of this process takes its name, for it to prevent that.

    A worker that outlives its run must not write into a folder that is not locked any more.
    """
    _checks.append(check)


def remove_unfinished(paths: Iterable[Path]) -> None:
    """Remove what killed runs left of the writing of these files."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, targets in names.items():
        for part in folder.glob(f"*{PART_SUFFIX}"):
            match = _PART_NAME.fullmatch(part.name)
            if match and match["target"] in targets:
                part.unlink(missing_ok=True)


def remove_unfinished_below(folder: Path) -> None:
    """Remove what killed runs left of any file in a folder of dpedkit's own and below it."""
    for part in folder.rglob(f"*{PART_SUFFIX}"):
        if _PART_NAME.fullmatch(part.name):
            part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted layout left as given and a final newline."""
    with complete_or_absent(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8; what UTF-8 has no code for becomes a question mark.

    Names of files can hold bytes that are no text.
    """
    with complete_or_absent(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file unless that is wanted."""
    if path.exists() and not overwrite:
        raise DpedkitError(f"{path} already exists; use --overwrite to replace it.")


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, with one clear sentence when that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise DpedkitError(f"{path} is a file, but a folder is needed there.") from None
    except OSError as error:
        raise explain_os_error(error, path) from error
    return path


def explain_os_error(error: OSError, path: Path) -> Exception:
    """Turn a full disk or a lacking permission into a sentence; hand back any other error.

    h5py raises OSError without an errno and says 'No space left on device' in its text.
    """
    if error.errno == errno.ENOSPC or "No space left on device" in str(error):
        return DpedkitError(
            f"The disk is full: {path} could not be written. Free some space and run the same "
            "command again (train: with --resume); it continues where it stopped."
        )
    if error.errno == errno.EDQUOT:
        return DpedkitError(f"Your disk quota is exhausted: {path} could not be written.")
    if isinstance(error, PermissionError) and _hides_its_content(path):
        return DpedkitError(
            f"{path} cannot be read: permission denied. Its owner can allow it with chmod u+r."
        )
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return DpedkitError(
            f"{path} cannot be written: permission denied. Choose another output folder."
        )
    if error.errno in _NO_SUCH_PLACE:
        return DpedkitError(f"{path} cannot be written: {os.strerror(error.errno).lower()}.")
    return error


def _hides_its_content(path: Path) -> bool:
    return os.access(path, os.F_OK) and not os.access(path, os.R_OK)
