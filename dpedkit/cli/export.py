"""`dpedkit export`."""

from __future__ import annotations

from pathlib import Path

from dpedkit.cli import options
from dpedkit.export.config import ExportConfig


@options.command(
    examples=(
        ("dpedkit export runs/001 model.onnx", "for onnxruntime, on any device"),
        ("dpedkit export model.safetensors small.onnx --precision fp16", "a smaller file"),
        (
            "dpedkit export runs/001 fast.onnx --precision int8 --calibrate shards/",
            "faster on CPUs, if the network is large",
        ),
        ("dpedkit export runs/001 look.cube --photo photo.jpg", "its colours, for other programs"),
    )
)
@options.path_argument("model", "MODEL")
@options.path_argument("output", "OUTPUT")
@options.config_options(ExportConfig)
@options.overwrite_option
def command(
    printer: options.Printer, model: Path, output: Path, config: ExportConfig, overwrite: bool
) -> None:
    """Write a network as ONNX or for LiteRT, or its colours as a .cube file.

    OUTPUT ends in .onnx, .tflite or .cube. Before a network is saved, it is run in onnxruntime or
    LiteRT and compared with PyTorch; the largest difference is printed, or what fp16 and int8 lose,
    in dB. ONNX files take images of any size, .tflite files images of one size (--side). They need
    the extras: pip install 'dpedkit[onnx]' or 'dpedkit[litert]'. A .cube file is a 3D look-up table
    that video and photo editors read; a photo-aware network has a different one for each photo
    (--photo).

    MODEL is a model file or the folder of a run.
    """
    from dpedkit import stages

    printer.show(stages.export(model, output, config, overwrite=overwrite))
