"""What `dpedkit evaluate` found of the networks of a run: a JSON file each, in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpedkit.core.manifest import read_json

EVALUATIONS = "evaluations"  # the folder, in that of the run
# The two kinds, each by a key that only those of its kind have. Names of files do not tell them
# apart: they begin with the name of the model file, which may be any.
ON_PATCHES, ON_PHOTOS = "splits", "photos"


def read_evaluations(run: Path, kind: str) -> dict[Path, dict[str, Any]]:
    """The evaluations of one kind that a run keeps, by their files, in the order of the names.

    Parameters
    ----------
    run : Path
        The folder of the run.
    kind : str
        `ON_PATCHES` or `ON_PHOTOS`.

    Raises
    ------
    DpedkitError
        If a file cannot be read.
    """
    files = sorted((run / EVALUATIONS).glob("*.json"))
    found = {file: read_json(file) for file in files}
    return {file: one for file, one in found.items() if kind in one}
