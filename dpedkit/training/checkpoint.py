"""Checkpoints: everything that a run needs to continue as if it had never been stopped.

A checkpoint is written whole or not at all, and reading one executes nothing that is in it.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.console import warn
from dpedkit.core.errors import DpedkitError

CHECKPOINT_FORMAT = 2
_PARTS = {"format", "step"}


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], *, keep: int, best: int | None
) -> None:
    """Write the state after `step` steps, and drop older checkpoints.

    Parameters
    ----------
    folder : Path
    step : int
    state : dict
        Tensors, numbers, strings, lists and dictionaries of them.
    keep : int
        How many of the last checkpoints stay.
    best : int or None
        The step of the best network; its checkpoint stays too.
    """
    content = io.BytesIO()
    torch.save({"format": CHECKPOINT_FORMAT, "step": step, **state}, content)
    with complete_or_absent(_file(folder, step)) as part:
        part.write_bytes(content.getbuffer())
    for old in list_checkpoints(folder)[:-keep]:
        if best is None or old != _file(folder, best):
            old.unlink()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest intact checkpoint of a folder, on the CPU; None if there is none at all.

    A warning names damaged ones, which stay where they are; the steps since the previous checkpoint
    are repeated.

    Raises
    ------
    DpedkitError
        If all are damaged, or the newest intact one is of another version.
    """
    files = list_checkpoints(folder)
    for file in reversed(files):
        state = _read(file)
        if state is not None and state["format"] != CHECKPOINT_FORMAT:
            raise DpedkitError(f"{file} was written by another version of dpedkit.")
        if state is not None:
            return state
        warn(f"{file} is damaged; continuing from the previous checkpoint.")
    if files:
        raise DpedkitError(
            f"{folder}: every checkpoint is damaged. Start another run, with --init and this run's "
            "last.safetensors if that file is intact."
        )
    return None


def _read(file: Path) -> dict[str, Any] | None:
    """A checkpoint; None if it is damaged, even by a single bit."""
    try:
        with zipfile.ZipFile(file) as parts:
            if parts.testzip() is not None:  # torch does not compare the checksums
                return None
        state = torch.load(file, map_location="cpu", weights_only=True)
        return state if state.keys() >= _PARTS else None
    except Exception:  # torch raises many kinds for a damaged file
        return None


def newest_step(folder: Path) -> int:
    """The number of steps of the newest checkpoint, intact or not; 0 if there is none."""
    files = list_checkpoints(folder)
    return int(files[-1].stem.removeprefix("step-")) if files else 0


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def _file(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.pt"
