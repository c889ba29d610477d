"""Checkpoints: everything a run needs to go on as if it had never been stopped.

A checkpoint is written whole or not at all, and reading one executes nothing that is in it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.errors import DpedkitError

CHECKPOINT_FORMAT = 2


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
    """The newest checkpoint of a folder, on the CPU; None if there is none.

    Raises
    ------
    DpedkitError
        If it is damaged, or of another version.
    """
    files = list_checkpoints(folder)
    if not files:
        return None
    newest = files[-1]
    try:
        state: dict[str, Any] = torch.load(newest, map_location="cpu", weights_only=True)
        known = state["format"] == CHECKPOINT_FORMAT
    except Exception as error:  # torch raises many kinds for a damaged file
        raise DpedkitError(
            f"{newest} is damaged ({str(error).splitlines()[0]}); delete it, and --resume "
            "continues from the one before."
        ) from None
    if not known:
        raise DpedkitError(f"{newest} was written by another version of dpedkit.")
    return state


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def _file(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.pt"
