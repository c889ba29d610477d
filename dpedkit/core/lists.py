"""Lists that people write or edit: CSV, tolerant of what spreadsheets and editors do to it."""

from __future__ import annotations

import csv
from pathlib import Path

from dpedkit.core.errors import DpedkitError
from dpedkit.core.regular import would_wait


def read_list(file: Path) -> list[tuple[int, list[str]]]:
    """The lines of a CSV file in UTF-8, with their numbers from 1, cut into stripped cells.

    Commas or semicolons divide the cells. Empty lines and lines that begin with # are skipped.

    Raises
    ------
    DpedkitError
        If the file is missing or is not text, or a line of it is not CSV.
    """
    if would_wait(file):
        raise DpedkitError(f"{file} is not a regular file.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DpedkitError(f"{file}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DpedkitError(f"{file} is not valid UTF-8 text ({error}).") from None
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            delimiter = ";" if ";" in line and "," not in line else ","
            try:
                cells = next(csv.reader([line], delimiter=delimiter))
            except csv.Error as error:
                raise DpedkitError(f"{file}, line {number} cannot be read ({error}).") from None
            lines.append((number, [cell.strip() for cell in cells]))
    return lines
