"""JSON Lines manifests: one record per line, appended as work is done, readable after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from dpedkit.core.atomic import complete_or_absent, explain_os_error
from dpedkit.core.errors import DpedkitError
from dpedkit.core.regular import would_wait

_CHUNK = 1 << 16  # bytes


class Journal:
    """An open JSONL file to which finished work is appended, one flushed line at a time.

    A line that a kill cut short is cut off on opening, so that the next record starts a new line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.exists() and (whole := _whole_lines(path)) < path.stat().st_size:
                os.truncate(path, whole)
            self._file = path.open("ab")
        except OSError as error:
            raise explain_os_error(error, path) from error

    def append(self, record: dict[str, Any]) -> int:
        """Write one record; once this returns, a killed process no longer loses it.

        Returns
        -------
        int
            Where its line begins in the file, in bytes.
        """
        try:
            start = self._file.tell()
            self._file.write(json_line(record))
            self._file.flush()
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        return start

    def sync(self) -> None:
        """Put the records on the disk: once this returns, a power cut no longer loses them."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def close(self) -> None:
        """Put the records on the disk and close the file."""
        try:
            with self._file:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if value is None:
            self.close()
            return
        with suppress(DpedkitError, OSError):  # what went wrong first is what is told
            self.close()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All records of a JSONL file; a last line that a kill cut short is left out.

    Raises
    ------
    DpedkitError
        If the file is missing, or a complete line is not a JSON object.
    """
    return [record for _, record in each_line(path)]


def each_line(path: Path, containing: bytes = b"") -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a JSONL file one by one, each with the byte at which its line begins.

    Parameters
    ----------
    path : Path
    containing : bytes
        Lines without these bytes are passed over, unread.

    Raises
    ------
    DpedkitError
        As `read_jsonl`.
    """
    _refuse_pipe(path)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise DpedkitError(f"{path} is missing.") from None
    with file:
        start = 0
        for number, line in enumerate(file, start=1):
            # What follows the last newline was never finished.
            if containing in line and line.endswith(b"\n"):
                yield start, _parsed(line, path, number)
            start += len(line)


def line_at(file: BinaryIO, start: int) -> bytes:
    """The line of a JSONL file that begins at this byte."""
    file.seek(start)
    return file.readline()


def json_line(record: dict[str, Any]) -> bytes:
    """A record as a line of a JSONL file."""
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise DpedkitError(f"{path} is not a text file.") from None
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or a maze
        record = None
    if not isinstance(record, dict):
        raise DpedkitError(f"{path}, line {number} is damaged: it is not a JSON object.")
    return record


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write all records atomically."""
    with complete_or_absent(path) as part, part.open("wb") as file:
        file.writelines(map(json_line, records))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an error says in one sentence that the file is missing or damaged."""
    _refuse_pipe(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise DpedkitError(f"{path} is missing.") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise DpedkitError(f"{path} is damaged: it is not a JSON object.")
    return content


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are not JSON, and dpedkit never writes them."""
    raise ValueError(name)


def _refuse_pipe(path: Path) -> None:
    if would_wait(path):
        raise DpedkitError(f"{path} is not a regular file.")


def _whole_lines(path: Path) -> int:
    """How many bytes of a file are lines with an end."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _CHUNK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
