"""Shards compared with the SHA-256 that the index lists, before anything is made from them.

Files found intact are recorded in the user's cache folder, with their path, size and times, so that
only the first command that uses them reads them twice. The record is not kept in the shards folder:
if it were copied together with the shards, it would confirm a damaged copy.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpedkit.core.atomic import write_json
from dpedkit.core.console import detail, progress
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_json
from dpedkit.core.parallel import count_workers
from dpedkit.core.regular import would_wait
from dpedkit.shards.finished import file_sha256
from dpedkit.shards.format import SPLITS
from dpedkit.shards.index import ShardEntry, ShardIndex, read_index

CACHE_VARIABLE = "DPEDKIT_CACHE"
_MEMORY = "sound-shards.json"
_REMEMBERED = 20_000  # files; the oldest are forgotten first
_READERS = 8  # threads; more do not make a disk faster
# A change in the same tick of the file system's clock would keep a file's times; FAT has 2 s.
_SETTLED_NS = 3 * 10**9
_MB = 1 << 20


def check_shards(
    folder: str | Path, splits: Iterable[str] = SPLITS, *, verify: bool = True
) -> ShardIndex:
    """Refuse shards that are not exactly the files that the index lists.

    Parameters
    ----------
    folder : str or Path
        The shards folder.
    splits : iterable of str
        Those that are going to be used.
    verify : bool
        False reads the index only.

    Returns
    -------
    ShardIndex

    Raises
    ------
    DpedkitError
        If the folder is not a complete shards folder, or a shard is missing or damaged.
    """
    index = read_index(folder)
    if verify:
        refuse_damaged(index, [entry for split in splits for entry in index.shards[split]])
    return index


def refuse_damaged(index: ShardIndex, entries: Iterable[ShardEntry]) -> None:
    """Raise DpedkitError, naming the files and the cure, unless all have their SHA-256."""
    damaged = damaged_shards(index, entries)
    if damaged:
        more = len(damaged) - 1
        what = f"{damaged[0]} and {more} more are" if more else f"{damaged[0]} is"
        raise DpedkitError(
            f"{what} damaged: the SHA-256 does not match the index. Copy the shards again from "
            "where they were made, or cut them again with `dpedkit patches --overwrite`; "
            "--no-verify uses them anyway."
        )


def damaged_shards(
    index: ShardIndex, entries: Iterable[ShardEntry], *, remember: bool = True
) -> list[Path]:
    """The shards whose bytes are not those that the index lists, in the order given.

    Parameters
    ----------
    index : ShardIndex
    entries : iterable of ShardEntry
    remember : bool
        Use earlier results for files that have not changed since, and record the new results.

    Raises
    ------
    DpedkitError
        If one is missing or cannot be read.
    """
    known = _recall() if remember else {}
    states = {}
    for entry in entries:
        path = index.folder / entry.file
        state = _state(path, entry)
        if known.get(str(path.resolve())) != state:
            states[path] = (state, entry.sha256)
    if not states:
        return []
    began = time.time_ns()
    sound: dict[str, list[Any]] = {}
    damaged = []
    total = sum(state[0] for state, _ in states.values())
    with (
        progress("verify", -(-total // _MB), "MB") as bar,
        ThreadPoolExecutor(min(_READERS, count_workers(0), len(states))) as pool,
    ):
        found = {pool.submit(_sha256, path): path for path in states}
        for future in as_completed(found):
            path = found[future]
            state, wanted = states[path]
            if future.result() != wanted:
                damaged.append(path)
            elif began - max(state[1:3]) > _SETTLED_NS:
                sound[str(path.resolve())] = state
            bar.advance(-(-state[0] // _MB))
    if remember and sound:
        _note(sound)
    return [path for path in states if path in damaged]


def _state(path: Path, entry: ShardEntry) -> list[Any]:
    """What changes when a file does: size, times, and the SHA-256 that it should have."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise DpedkitError(
            f"{path} is missing, but the index lists it; copy it again from where the shards were "
            "made, or cut them again with `dpedkit patches --overwrite`."
        ) from None
    if would_wait(path):
        raise DpedkitError(f"{path} is not a regular file.")
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, entry.sha256]


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except PermissionError:
        raise DpedkitError(f"{path} cannot be read: permission denied.") from None
    except OSError as error:
        raise DpedkitError(f"{path} cannot be read: {error.strerror}.") from None


def _memory_file() -> Path:
    """Where sound shards are remembered, by the customs of the system."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named) / _MEMORY
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "dpedkit" / _MEMORY


def _recall() -> dict[str, list[Any]]:
    """What was found sound; nothing where that was never noted or the note is damaged."""
    with suppress(DpedkitError, OSError, RuntimeError):
        return read_json(_memory_file())
    return {}


def _note(sound: dict[str, list[Any]]) -> None:
    """Remember sound files; where that is not possible they are read again the next time."""
    try:
        file = _memory_file()
        known = _recall()
        for path in sound:
            known.pop(path, None)  # the newest come last
        newest = list({**known, **sound}.items())[-_REMEMBERED:]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, dict(newest))
    except (DpedkitError, OSError, RuntimeError) as error:
        detail(f"the result of the verification could not be saved: {error}")
