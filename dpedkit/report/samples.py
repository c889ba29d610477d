"""The sample pictures of a run as one grid: each patch before, after so many steps, by the DSLR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpedkit.images import read_photo
from dpedkit.report.page import escape, picture

_MOMENTS = 6
_GAP = 4  # px between the patches of a sample picture, of which each row is phone, enhanced, DSLR


def over_time(folder: Path) -> str:
    """HTML of the patches as they were enhanced at moments evenly spread over the run.

    Parameters
    ----------
    folder : Path
        `samples` of the run, with a `step-N.png` for each evaluation.
    """
    files = sorted(folder.glob("step-*.png"))
    count = min(_MOMENTS, len(files))
    chosen = [files[round(n * (len(files) - 1) / max(count - 1, 1))] for n in range(count)]
    if not chosen:
        return '<p class="soft">There are no samples yet.</p>'
    pictures = [read_photo(file) for file in chosen]
    columns = [("phone", _column(pictures[-1], 0))]
    columns += [
        (f"step {int(file.stem.removeprefix('step-')):,}", _column(pixels, 1))
        for file, pixels in zip(chosen, pictures, strict=True)
    ]
    columns.append(("DSLR", _column(pictures[-1], 2)))
    figures = [
        f"<figure><figcaption>{escape(words)}</figcaption>{picture(pixels, words)}</figure>"
        for words, pixels in columns
    ]
    return f'<div class="times">{"".join(figures)}</div>'


def _column(pixels: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Column 0, 1 or 2 of a sample picture."""
    pitch = (pixels.shape[1] + _GAP) // 3
    return pixels[:, number * pitch : (number + 1) * pitch - _GAP]
