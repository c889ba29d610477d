"""JSON Lines manifests: one record per line, appended as work is done, readable after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dpedkit.core.atomic import complete_or_absent, explain_os_error
from dpedkit.core.errors import DpedkitError
from dpedkit.core.regular import would_wait


class Journal:
    """An open JSONL file to which finished work is appended, one flushed line at a time.

    A line that a kill cut short is cut off on opening, so that the next record starts a new line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            whole = path.read_bytes()
            if not whole.endswith(b"\n"):
                with path.open("rb+") as file:
                    file.truncate(whole.rfind(b"\n") + 1)
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise explain_os_error(error, path) from error

    def append(self, record: dict[str, Any]) -> None:
        """Write one record; once this returns, a killed process no longer loses it."""
        try:
            self._file.write(json.dumps(record, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise explain_os_error(error, self.path) from error

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
    _refuse_pipe(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DpedkitError(f"{path} is missing.") from None
    except UnicodeDecodeError:
        raise DpedkitError(f"{path} is not a text file.") from None
    lines = text.split("\n")
    complete = lines[:-1]  # what follows the last newline was never finished
    records = []
    for number, line in enumerate(complete, start=1):
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or a maze
            record = None
        if not isinstance(record, dict):
            raise DpedkitError(f"{path}, line {number} is damaged: it is not a JSON object.")
        records.append(record)
    return records


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write all records atomically."""
    with complete_or_absent(path) as part, part.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, allow_nan=False) + "\n")


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
