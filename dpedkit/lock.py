"""One run at a time in a folder: a second one ends before it changes anything.

The lock is the operating system's, on a file in the folder. It goes with its process, however that
ends, so that nothing has to be cleaned up after a kill: the file that is left is locked by nobody,
and the next run takes it over. Workers are started without it and do not hold it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from dpedkit.atomic import make_folder
from dpedkit.console import warn
from dpedkit.errors import DpedkitError, FolderInUseError
from dpedkit.manifest import read_json

LOCK_NAME = ".dpedkit.lock"
_ATTEMPTS = 10

_held: set[Path] = set()
_block: ExitStack | None = None


@contextmanager
def until_end() -> Iterator[None]:
    """Hold the locks that are taken in this block, or in a function decorated so, until its end.

    Of blocks within each other the outermost counts: a stage's folder stays locked until its
    report is written.
    """
    global _block
    if _block is not None:
        yield
        return
    with ExitStack() as _block:
        try:
            yield
        finally:
            _block = None


def take(folder: Path) -> None:
    """Lock a folder until the end of the block that `until_end` began; it is made if need be.

    Raises
    ------
    FolderInUseError
        If another process holds the lock.
    DpedkitError
        If the folder cannot be made.
    """
    assert _block is not None, "taken outside of until_end()"
    _block.enter_context(locked(folder))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder during this block; a process that holds the lock already passes.

    The folder is made if need be, and removed if it is empty again at the end. Where locks are not
    to be had, on some network file systems, a warning is given; where the folder may not be
    written to, no run can do harm, and none is locked out.

    Raises
    ------
    FolderInUseError, DpedkitError
        As `take`.
    """
    key = folder.resolve()
    if key in _held:
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    descriptor = _acquire(folder)
    _held.add(key)
    try:
        yield
    finally:
        _held.remove(key)
        _release(folder / LOCK_NAME, descriptor)
        with suppress(OSError):  # the first that is not empty ends it
            for path in made:
                path.rmdir()


def _acquire(folder: Path) -> int | None:
    """The descriptor of the locked file; None where there is nothing to lock."""
    file = folder / LOCK_NAME
    while True:
        try:
            descriptor = _open(folder)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # which of them depends on the file system
            os.close(descriptor)
            raise FolderInUseError(_sentence(folder)) from None
        except OSError as error:
            _release(file, descriptor)
            warn(
                f"{folder} cannot be locked ({error.strerror}): see to it that no other run works "
                "in it at the same time."
            )
            return None
        if _is_at(file, descriptor):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)  # its holder ended and removed it between the two calls


def _open(folder: Path) -> int:
    for _ in range(_ATTEMPTS):
        make_folder(folder)
        # A run that ends just now may remove the folder before the file is in it.
        with suppress(FileNotFoundError):
            return os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


def _release(file: Path, descriptor: int | None) -> None:
    """Remove the file, then let go of it: whoever locks it meanwhile sees that it has no name."""
    if descriptor is None:
        return
    if _is_at(file, descriptor):
        with suppress(OSError):
            file.unlink()
    os.close(descriptor)


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _sign(descriptor: int) -> None:
    """Say in the file who holds it, for the run that finds it locked."""
    holder = {
        "process": os.getpid(),
        "host": os.uname().nodename,
        "since": datetime.now().isoformat(sep=" ", timespec="seconds"),
    }
    with suppress(OSError):  # a full disk is told by what needs the space
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)


def _sentence(folder: Path) -> str:
    try:
        holder = read_json(folder / LOCK_NAME)
        who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (DpedkitError, OSError, KeyError):  # not signed yet, or removed meanwhile
        who = "it has just begun"
    return (
        f"Another run is working in {folder} ({who}). Wait until it has ended or stop it, then run "
        "the same command again; or work in another folder."
    )
