"""One run at a time in a folder: a second one ends before it changes anything.

The operating system locks a file in the folder, through filelock. The lock ends with its process,
however the process ends, so that nothing has to be cleaned up after a kill: the file that remains
is not locked, and the next run takes it over. Workers are started without it and do not hold it.
"""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dpedkit.core.atomic import make_folder
from dpedkit.core.console import warn
from dpedkit.core.errors import DpedkitError, FolderInUseError
from dpedkit.core.manifest import read_json

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_NAME = ".dpedkit.lock"
_PATIENCE_S = 0.2  # a run that ends just now holds the file for a moment
_ATTEMPTS = 10


class _OfThread(threading.local):
    """The locks that a thread holds; another thread of the same process is another run."""

    def __init__(self) -> None:
        self.held: set[Path] = set()
        self.block: ExitStack | None = None


_own = _OfThread()


@contextmanager
def until_end() -> Iterator[None]:
    """Hold the locks that are taken in this block, or in a function decorated so, until its end.

    Of blocks within each other the outermost counts: a stage's folder stays locked until its
    report is written.
    """
    if _own.block is not None:
        yield
        return
    with ExitStack() as _own.block:
        try:
            yield
        finally:
            _own.block = None


def take(folder: Path) -> None:
    """Lock a folder until the end of the block that `until_end` began; it is made if need be.

    Raises
    ------
    FolderInUseError
        If another process, or another thread of this one, holds the lock.
    DpedkitError
        If the folder cannot be made.
    """
    assert _own.block is not None, "taken outside of until_end()"
    _own.block.enter_context(locked(folder))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder during this block; a thread that holds the lock already passes.

    The folder is made if need be, and removed if it is empty again at the end. On file systems
    without locks, such as some network file systems, a warning is given. If the folder cannot be
    written to, no run can do harm, and none is locked out.

    Raises
    ------
    FolderInUseError, DpedkitError
        As `take`.
    """
    key = folder.resolve()
    if key in _own.held:
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    held = _acquire(folder)
    _own.held.add(key)
    try:
        yield
    finally:
        _own.held.remove(key)
        if held is not None:
            # Removed while it is held: whoever opened it before sees that it has no name any more.
            with suppress(OSError):
                (folder / LOCK_NAME).unlink()
            held.release()
        with suppress(OSError):  # the first that is not empty ends it
            for path in made:
                path.rmdir()


def signatures() -> dict[Path, str]:
    """For each folder that this thread has locked, what its lock file says.

    Whoever reads something else there sees another folder, or a later run.
    """
    found = {}
    for folder in sorted(_own.held):
        with suppress(OSError):
            found[folder] = (folder / LOCK_NAME).read_text()
    return found


def _acquire(folder: Path) -> BaseFileLock | None:
    """The lock, held; None where there is nothing to lock."""
    from filelock import FileLock, Timeout

    file = folder / LOCK_NAME
    held = FileLock(file, mode=0o666, timeout=_PATIENCE_S, fallback_to_soft=False)
    for _ in range(_ATTEMPTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.acquire()
        except (FileNotFoundError, FileExistsError):
            continue  # a run that ends just now removed the folder, or it is a file
        except Timeout:
            break
        except OSError as error:
            make_folder(folder)  # which says why, if that is what failed
            if os.access(file, os.W_OK):
                _give_up(file, error)
            return None
        _sign(file)
        return held
    make_folder(folder)
    raise FolderInUseError(_sentence(folder))


def _give_up(file: Path, error: OSError) -> None:
    with suppress(OSError):
        file.unlink()
    warn(
        f"{file.parent} cannot be locked ({error.strerror}): make sure that no other run uses it "
        "at the same time."
    )


def _sign(file: Path) -> None:
    """Say in the file who holds it, for the run that finds it locked."""
    holder = {
        "process": os.getpid(),
        "host": platform.node(),
        "since": datetime.now().isoformat(sep=" ", timespec="seconds"),
    }
    with suppress(OSError):  # a full disk is told by what needs the space
        file.write_text(json.dumps(holder) + "\n")


def _sentence(folder: Path) -> str:
    try:
        holder = read_json(folder / LOCK_NAME)
        who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (DpedkitError, OSError, KeyError):  # not signed yet, or removed meanwhile
        who = "it has just started"
    return (
        f"Another run is working in {folder} ({who}). Wait until it has finished or stop it, then "
        "run the same command again, or use another folder."
    )
