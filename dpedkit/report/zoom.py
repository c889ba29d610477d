"""Rows of small pictures of one thing; a click shows a row large, with all that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpedkit.report.page import escape, picture

STYLE, SCRIPT = "zoom.css", "zoom.js"
_QUALITY, _PHOTO_QUALITY = 92, 85


@dataclass(frozen=True)
class Shown:
    """A picture of a row: what it is called, its pixels `(H, W, 3) uint8`, and whether it is only
    seen when the row is shown large."""

    name: str
    pixels: NDArray[np.uint8]
    only_large: bool = False


def zoomable(rows: Sequence[tuple[str, Sequence[Shown]]], *, wide: bool = False) -> str:
    """HTML of rows that can be shown large.

    The page needs `STYLE` and `SCRIPT`.

    Parameters
    ----------
    rows : sequence of (str, sequence of Shown)
        Each with what is to be said of it.
    wide : bool
        Of photos, which are shown as wide as the window allows, instead of patches, which are
        magnified.
    """
    return (
        f'<div class="zoomable{" photos" if wide else ""}">'
        + "".join(
            _row(words, pictures, _PHOTO_QUALITY if wide else _QUALITY) for words, pictures in rows
        )
        + "</div>"
    )


def _row(words: str, pictures: Sequence[Shown], quality: int) -> str:
    figures = "".join(
        f"<figure{' class=large-only' if one.only_large else ''}>"
        f"{picture(one.pixels, f'{words}: {one.name}', quality)}"
        f"<figcaption>{escape(one.name)}</figcaption></figure>"
        for one in pictures
    )
    caption = f'<span class="about">{escape(words)}</span>' if words else ""
    return (
        f'<button type="button" class="row" data-words="{escape(words)}">{caption}'
        f'<span class="pictures">{figures}</span></button>'
    )
