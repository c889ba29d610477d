"""`dpedkit export`."""

from __future__ import annotations

from pathlib import Path

from dpedkit.cli import options
from dpedkit.export import ExportConfig


@options.command(
    examples=(
        ("dpedkit export runs/001 model.onnx", "for onnxruntime, on any device"),
        ("dpedkit export model.safetensors small.onnx --precision fp16", "half the size"),
    )
)
@options.path_argument("model", "MODEL")
@options.path_argument("output", "OUTPUT.onnx")
@options.config_options(ExportConfig)
@options.overwrite_option
def command(
    printer: options.Printer, model: Path, output: Path, config: ExportConfig, overwrite: bool
) -> None:
    """Write a network as ONNX, for images of any size.

    Before the file is saved, it is run in onnxruntime and compared with the network; the largest
    difference is printed. Needs the extra: pip install 'dpedkit[onnx]'.

    MODEL is a model file or the folder of a run.
    """
    from dpedkit import stages

    printer.show(stages.export(model, output, config, overwrite=overwrite))
