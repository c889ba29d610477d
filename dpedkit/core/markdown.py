"""Parts of the cards, which are Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dpedkit.core.publication import STATEMENTS, UNKNOWN_LICENCE
from dpedkit.core.wording import counted


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; a cell is one line."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def settings_table(title: str, settings: Mapping[str, Any] | None) -> str:
    """A section with all settings of a stage, without those that `statements` shows or that
    are not set."""
    rows = [
        (name, json.dumps(value))
        for name, value in (settings or {}).items()
        if name not in STATEMENTS and value is not None
    ]
    return f"## {title}\n{table(('setting', 'value'), rows)}\n" if rows else ""


def statements(subject: str, told: Mapping[str, str], without_licence: str) -> str:
    """The sections on licence, authors and citation; `told` has what was stated."""
    licence = told.get("licence", UNKNOWN_LICENCE)
    unknown = f" {without_licence}" if licence == UNKNOWN_LICENCE else ""
    parts = [f"## Licence\n{subject}: {licence}.{unknown}"]
    if authors := told.get("authors"):
        names = [name.strip() for name in authors.split(";") if name.strip()]
        parts.append("## Authors\n" + "\n".join(f"- {name}" for name in names))
    cited = []
    if citation := told.get("citation"):
        cited.append(f"```bibtex\n{citation}\n```" if citation.startswith("@") else citation)
    if doi := told.get("doi"):
        cited.append(f"DOI: [{doi}](https://doi.org/{doi})")
    if cited:
        parts.append("## Citation\n" + "\n\n".join(cited))
    return "\n\n".join(parts) + "\n"


def camera_lines(cameras: Mapping[str, Mapping[str, int]]) -> str:
    """The cameras of "phone" and "dslr", with the number of photos of each."""
    lines = []
    for side, name in (("phone", "phone"), ("dslr", "DSLR")):
        counts = cameras.get(side, {})
        known = [
            f"{camera} ({counted(count, 'photo')})" for camera, count in sorted(counts.items())
        ]
        lines.append(f"- {name}: {', '.join(known) or 'not known'}")
    return "\n".join(lines)
