"""`dpedkit import-model`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options


@options.command(
    name="import-model",
    examples=(
        (
            "dpedkit import-model models_orig/iphone_orig -o iphone.safetensors",
            "the authors' network",
        ),
    ),
)
@options.path_argument("checkpoint", "CHECKPOINT")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The model file to write (.safetensors).",
)
@options.overwrite_option
def command(printer: options.Printer, checkpoint: Path, output: Path, overwrite: bool) -> None:
    """Convert a checkpoint of the authors into a model file.

    CHECKPOINT is a TensorFlow checkpoint: the name that its .index and .data files begin with.
    TensorFlow is not needed; checksums are verified. The networks are resnet-12-64 (iphone_orig,
    blackberry_orig, sony_orig), resnet-8-32 and srcnn. `evaluate` and `enhance` also accept a
    checkpoint directly.
    """
    from dpedkit import stages

    printer.show(stages.import_model(checkpoint, output, overwrite=overwrite))
