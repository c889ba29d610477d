"""The frame of every report: one HTML file with its style, script and data inside."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit._version import __version__
from dpedkit.atomic import make_folder, write_text

_HERE = Path(__file__).parent


def write_page(
    folder: Path, title: str, body: str, *, data: Any = None, scripts: Sequence[str] = ()
) -> Path:
    """Write `folder`/report/index.html.

    Parameters
    ----------
    folder : Path
        What the report is about.
    title, body : str
        The body is HTML.
    data : JSON-ready, optional
        Handed to the scripts as `REPORT`.
    scripts : sequence of str
        Names of script files beside this module, put into the page.
    """
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    code = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in scripts)
    # "</" would end the script element, whatever JSON string it stands in.
    content = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    script = f"<script>const REPORT = {content};\n{code}</script>" if scripts else ""
    page = (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n"
        f"<body>\n{body}\n<footer>dpedkit {__version__}</footer>\n{script}</body></html>\n"
    )
    path = make_folder(folder / "report") / "index.html"
    write_text(path, page)
    return path


def escape(text: object) -> str:
    """Any value as text that is safe inside HTML."""
    return html.escape(str(text))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """An HTML table; cells are escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def picture(pixels: NDArray[np.uint8], alt: str, quality: int = 88) -> str:
    """An `<img>` that carries its `(H, W, 3) uint8` RGB pixels as JPEG."""
    encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    source = base64.b64encode(encoded.tobytes()).decode()
    height, width = pixels.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{source}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}">'
    )


def tiles(pictures: Sequence[str]) -> str:
    """Pictures in rows, as many as fit the window."""
    return '<div class="tiles">' + "".join(pictures) + "</div>"
