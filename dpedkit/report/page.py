"""The frame of every report: one HTML file with its style, script and data inside."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit._version import __version__
from dpedkit.core.atomic import make_folder, write_text

_HERE = Path(__file__).parent
_GENERATOR = f'<meta name="generator" content="dpedkit {__version__}">'
_HEAD_BYTES = 1000  # the generator stands among them


def write_page(
    folder: Path,
    title: str,
    body: str,
    *,
    data: Any = None,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> Path:
    """Write `folder`/report/index.html, linked with related pages, and return its path.

    Parameters
    ----------
    folder : Path
        What the report is about.
    title, body, data, styles, scripts
        As for `page`.
    """
    from dpedkit.report.links import link_back, navigation

    path = page_file(folder)
    make_folder(path.parent)
    body = f"{navigation(folder)}\n{body}"
    write_text(path, page(title, body, data=data, styles=styles, scripts=scripts))
    link_back(folder)
    return path


def page_file(folder: Path) -> Path:
    """Where the report of a folder is."""
    return folder / "report" / "index.html"


def is_by_this_version(path: Path) -> bool:
    """Whether a page was made by this version of dpedkit."""
    with path.open("rb") as file:
        return _GENERATOR.encode() in file.read(_HEAD_BYTES)


def page(
    title: str,
    body: str,
    *,
    data: Any = None,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> str:
    """A page of HTML with all that it needs inside.

    Parameters
    ----------
    title, body : str
        The body is HTML.
    data : JSON-ready, optional
        What the scripts find as `REPORT`.
    styles, scripts : sequence of str
        Names of files beside this module that are put into the page, the scripts in one.
    """
    style = "".join(_read(name) for name in ("page.css", *styles))
    script = ""
    if scripts:
        # "<" could end the element or begin a comment, whatever JSON string it stands in.
        content = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        code = "".join(_read(name) for name in scripts)
        script = (
            f'<script type="application/json" id="data">{content}</script>\n'
            '<script>"use strict";\n'
            'const REPORT = JSON.parse(document.getElementById("data").textContent);\n'
            f"{code}</script>\n"
        )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{_GENERATOR}\n"
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n"
        f"<body>\n{body}\n<footer>dpedkit {__version__}</footer>\n{script}</body></html>\n"
    )


def escape(text: object) -> str:
    """Any value as text that is safe inside HTML."""
    return html.escape(str(text))


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    best: int | None = None,
    words: Sequence[str] = (),
    bold: Collection[tuple[int, int]] = (),
) -> str:
    """An HTML table; cells are escaped, and the row numbered `best` stands out.

    Columns hold numbers, but for the first one and those whose headers are in `words`. Cells whose
    `(row, column)` is in `bold` stand out, too.
    """

    def line(kind: str, cells: Sequence[object], bold_columns: Collection[int] = ()) -> str:
        marks = ['class="words"' if name in words else "" for name in header]
        return "".join(
            f"<{' '.join(filter(None, [kind, mark]))}>"
            f"{f'<b>{escape(cell)}</b>' if column in bold_columns else escape(cell)}</{kind}>"
            for column, (mark, cell) in enumerate(zip(marks, cells, strict=True))
        )

    lines = []
    for number, row in enumerate(rows):
        mark = ' class="best"' if number == best else ""
        columns = {column for at, column in bold if at == number}
        lines.append(f"<tr{mark}>{line('td', row, columns)}</tr>")
    return (
        f'<div class="wide"><table><thead><tr>{line("th", header)}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def cards(facts: Sequence[tuple[str, str]]) -> str:
    """The few numbers that matter most, each with what it is."""
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><b>{escape(value)}</b><span>{escape(meaning)}</span></div>'
            for value, meaning in facts
        )
        + "</div>"
    )


def picture(pixels: NDArray[np.uint8], alt: str, quality: int = 88) -> str:
    """An `<img>` that carries its `(H, W, 3) uint8` RGB pixels as JPEG."""
    encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    height, width = pixels.shape[:2]
    return (
        f'<img src="{jpeg_uri(encoded.tobytes())}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}">'
    )


def jpeg_uri(content: bytes) -> str:
    """A JPEG file's content as an address that carries it."""
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def tiles(pictures: Sequence[tuple[str, str]]) -> str:
    """Pictures with what is to be said of each, in rows, as many as fit the window."""
    return (
        '<div class="tiles">'
        + "".join(
            f"<figure>{image}<figcaption>{escape(words)}</figcaption></figure>"
            for image, words in pictures
        )
        + "</div>"
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
