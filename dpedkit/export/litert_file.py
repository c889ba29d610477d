"""Write a trained network for LiteRT (TensorFlow Lite), for images of one size, and verify it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpedkit.core.atomic import complete_or_absent, make_folder, refuse_existing, remove_unfinished
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.export.config import ExportConfig
from dpedkit.export.quiet import quiet
from dpedkit.export.samples import Sample, looks_at_thumbnails
from dpedkit.export.verification import network_output, refuse_difference

if TYPE_CHECKING:
    from dpedkit.models.generator import Generator

INSTALL_LINE = "pip install 'dpedkit[litert]', preferably in a separate environment"
_TOLERANCE = 1e-4
_INPUT = "photo"


@dataclass(frozen=True)
class LiteRTSummary:
    """What `export_litert` wrote.

    Attributes
    ----------
    file : Path
    size : int
        Bytes.
    side : int
        Width and height of the images, px.
    reach : int
        How many pixels around a pixel its result depends on, without instance norm.
    largest_difference : float
        Between LiteRT and torch, on noise with levels in [0, 1].
    """

    file: Path
    size: int
    side: int
    reach: int
    largest_difference: float

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {**vars(self), "file": str(self.file)}

    def as_text(self) -> str:
        """One line for people."""
        return (
            f"{self.file} ({self.size / 1e6:.2f} MB, {self.side}x{self.side} px, reach "
            f"{self.reach} px), verified with LiteRT: largest difference "
            f"{self.largest_difference:.1e}"
        )


def export_litert(
    model_path: Path, output: Path, config: ExportConfig, *, overwrite: bool = False
) -> LiteRTSummary:
    """Write a network as a .tflite file in float32 and verify the file.

    Its input `photo` and its output are (1, 3, S, S) float32, RGB in [0, 1].

    Parameters
    ----------
    model_path : Path
        A model file.
    output : Path
        It is written only if it passes the verification.
    config : ExportConfig
        `side` is S.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    UsageError
        If a setting is not for .tflite files, or LiteRT cannot run the network.
    DpedkitError
        If the extra is not installed, the model cannot be read, the file exists, or the output of
        LiteRT differs from torch's.
    """
    config.refuse_unused(("side",), f"in a {output.suffix} file")
    _require_extra()
    refuse_existing(output, overwrite=overwrite)
    from dpedkit.models.files import load_model

    model = load_model(model_path)
    if looks_at_thumbnails(model):
        raise UsageError(
            f"{model_path} is a {model.architecture} network, which sorts the pixels of a "
            "thumbnail, and LiteRT cannot sort. Export it as ONNX: give a name that ends in .onnx."
        )
    if config.side % model.step:
        raise UsageError(f"side is {config.side}, but must be a multiple of {model.step}.")
    make_folder(output.parent)
    remove_unfinished([output])
    with complete_or_absent(output) as part:
        _write(model, part, config.side)
        difference = _difference(model, part, config.side)
        refuse_difference(output, "LiteRT", difference, _TOLERANCE)
    return LiteRTSummary(output, output.stat().st_size, config.side, model.reach, difference)


def _require_extra() -> None:
    try:
        with quiet:
            import ai_edge_litert.interpreter  # noqa: F401
            import litert_torch  # noqa: F401
    except ImportError as error:
        raise DpedkitError(
            f"Exporting to LiteRT needs the package {error.name}: {INSTALL_LINE}"
        ) from None


def _write(model: Generator, file: Path, side: int) -> None:
    import litert_torch
    import torch

    from dpedkit.export.graph import exported

    network = exported(model, torch.float32)
    example = torch.from_numpy(_noise(side).photo)
    with tempfile.TemporaryDirectory() as name, quiet:
        temporary = Path(name) / "network.tflite"  # the only suffix that export accepts
        converted = litert_torch.convert(network, sample_kwargs={_INPUT: example})
        converted.export(str(temporary))
        file.write_bytes(temporary.read_bytes())


def _difference(model: Generator, file: Path, side: int) -> float:
    from ai_edge_litert.interpreter import Interpreter

    sample = _noise(side)
    with quiet:
        interpreter = Interpreter(str(file))
        (found,) = interpreter.get_signature_runner()(**{_INPUT: sample.photo}).values()
    return float(np.abs(found - network_output(model, sample)).max())


def _noise(side: int) -> Sample:
    return Sample(np.random.default_rng(0).random((1, 3, side, side), np.float32))
