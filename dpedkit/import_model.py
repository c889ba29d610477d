"""`dpedkit import-model`: the authors' TensorFlow checkpoints as model files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.atomic import make_folder, refuse_existing, remove_unfinished
from dpedkit.core.errors import DpedkitError
from dpedkit.models.authors import is_checkpoint, load_checkpoint
from dpedkit.models.files import save_model


@dataclass(frozen=True)
class ImportSummary:
    """What was imported, and where it is now."""

    checkpoint: Path
    model: Path
    architecture: str
    parameters: int

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {
            "checkpoint": str(self.checkpoint),
            "model": str(self.model),
            "architecture": self.architecture,
            "parameters": self.parameters,
        }

    def as_text(self) -> str:
        """One line for people."""
        return (
            f"{self.model}: {self.architecture} with {self.parameters:,} parameters from "
            f"{self.checkpoint}, all checksums match"
        )


def import_model(checkpoint: Path, output: Path, *, overwrite: bool = False) -> ImportSummary:
    """Read a TensorFlow V2 checkpoint of the authors and write it as a model file.

    Parameters
    ----------
    checkpoint : Path
        The prefix of its files, for example `models_orig/iphone_orig`.
    output : Path
        The model file to write.
    overwrite : bool
        Replace a file of that name.

    Raises
    ------
    DpedkitError
        If there is no checkpoint, it is damaged or of another network, or `output` exists.
    """
    if not is_checkpoint(checkpoint):
        raise DpedkitError(
            f"{checkpoint}.index: there is no such file; give the checkpoint's name without "
            ".index or .data-00000-of-00001."
        )
    refuse_existing(output, overwrite=overwrite)
    model = load_checkpoint(checkpoint)
    if output.is_dir():
        raise DpedkitError(f"{output} is a folder; give the model file to write with -o.")
    make_folder(output.parent)
    remove_unfinished([output])
    save_model(output, model, {"imported": model.card["imported"]})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ImportSummary(checkpoint, output, model.architecture, parameters)
