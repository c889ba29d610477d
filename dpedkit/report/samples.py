"""The sample pictures of a run: each patch by the phone, after so many steps, by the DSLR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpedkit.images import read_photo
from dpedkit.report.zoom import Shown, zoomable

_MOMENTS = 6  # seen at once
_LARGE_MOMENTS = 24  # seen when a patch is shown large
_GAP = 4  # px between the patches of a sample picture, of which each row is phone, enhanced, DSLR


def over_time(folder: Path) -> str:
    """HTML of the patches as they were enhanced at moments evenly spread over the run.

    Parameters
    ----------
    folder : Path
        `samples` of the run, with a `step-N.png` for each validation.
    """
    files = sample_files(folder)
    if not files:
        return '<p class="soft">There are no samples yet.</p>'
    shown = _spread(len(files), _MOMENTS)
    moments = sorted({*shown, *_spread(len(files), _LARGE_MOMENTS)})
    pictures = {moment: patches_of(files[moment]) for moment in moments}
    last = pictures[moments[-1]]
    rows = []
    for row, (phone, _, dslr) in enumerate(last):
        steps = [
            Shown(f"step {_step(files[moment]):,}", pictures[moment][row][1], moment not in shown)
            for moment in moments
        ]
        words = f"patch {row + 1} of {len(last)}"
        rows.append((words, [Shown("phone", phone), *steps, Shown("DSLR", dslr)]))
    return zoomable(rows)


def sample_files(folder: Path) -> list[Path]:
    """The sample pictures of a run, in the order of their steps."""
    return sorted(folder.glob("step-*.png"))


def patches_of(file: Path) -> list[NDArray[np.uint8]]:
    """The patches of a sample picture: for each row phone, enhanced and DSLR, (3, S, S, 3)."""
    pixels = read_photo(file)
    pitch = (pixels.shape[1] + _GAP) // 3
    side = pitch - _GAP
    tops = range(0, pixels.shape[0], pitch)
    return [
        np.stack([pixels[top : top + side, n * pitch : n * pitch + side] for n in range(3)])
        for top in tops
    ]


def _step(file: Path) -> int:
    return int(file.stem.removeprefix("step-"))


def _spread(count: int, wanted: int) -> list[int]:
    """Evenly chosen places of `count`, the first and the last among them."""
    return sorted({round(n) for n in np.linspace(0, count - 1, min(wanted, count)).tolist()})
