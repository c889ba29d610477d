"""`dpedkit diagnose`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.diagnosis.config import DiagnoseConfig


@options.command(
    examples=(
        ("dpedkit diagnose runs/001 photos/", "will this network fit this camera?"),
        ("dpedkit diagnose model.safetensors photos/ --json", "for a script"),
    )
)
@options.path_argument("model", "MODEL")
@click.argument(
    "photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO_OR_FOLDER..."
)
@options.config_options(DiagnoseConfig)
def command(
    printer: options.Printer, model: Path, photos: tuple[Path, ...], config: DiagnoseConfig
) -> None:
    """Compare photos with those that a network was trained on.

    A network corrects the colours, noise and blur of one camera, and can do harm to photos of
    another one. This command measures brightness, contrast, colour, noise, sharpness and resolution
    of your photos and says for each how far it is from the training. It cannot say how good the
    result will be.

    MODEL is a model file or the folder of a run. The statistics of the training are in the file;
    networks of earlier versions lack them, and `dpedkit card MODEL --data SHARDS` adds them.
    """
    from dpedkit import stages

    printer.show(stages.diagnose(model, list(photos), config))
