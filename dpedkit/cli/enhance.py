"""`dpedkit enhance`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.enhancement.config import EnhanceConfig


@options.command(
    examples=(
        ("dpedkit enhance runs/001 photo.jpg -o out/", "one photo -> out/photo.jpg"),
        (
            "dpedkit enhance model.safetensors photos/ -o out/ --side-by-side",
            "a folder, with before/after images",
        ),
    )
)
@options.path_argument("model", "MODEL")
@click.argument(
    "photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO_OR_FOLDER..."
)
@options.output_folder("enhanced", "Folder for the enhanced photos.")
@options.config_options(EnhanceConfig)
@options.overwrite_option
def command(
    printer: options.Printer,
    model: Path,
    photos: tuple[Path, ...],
    output: Path,
    config: EnhanceConfig,
    overwrite: bool,
) -> None:
    """Enhance photos of any size with a trained network.

    JPEG, PNG and TIFF photos keep their format and EXIF data, and are written upright. Photos with
    another colour profile, such as Display P3, are converted to sRGB, the colour space of the
    networks, and get its profile. Large photos are computed in strips, with exactly the result of
    computing them whole. MODEL is a model file, the folder of a run, or a TensorFlow checkpoint of
    the authors.
    """
    from dpedkit import stages

    printer.show(stages.enhance(model, list(photos), output, config, overwrite=overwrite))
