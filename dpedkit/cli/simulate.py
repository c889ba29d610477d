"""`dpedkit simulate`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.simulate.config import SimulateConfig


@options.command(
    examples=(
        ("dpedkit simulate", "10 scenes -> raw/iphone and raw/canon"),
        ("dpedkit simulate --pairs 40 --disparity 30", "40 scenes with foreground objects"),
    )
)
@options.output_folder("raw", "Folder for the photos.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Use the photos in this folder as scenes instead of generated ones.",
)
@options.config_options(SimulateConfig)
@options.jobs_option
@options.overwrite_option
def command(
    printer: options.Printer,
    output: Path,
    photos: Path | None,
    config: SimulateConfig,
    jobs: int,
    overwrite: bool,
) -> None:
    """Make raw photos as a phone and a DSLR would take them.

    The scenes are synthetic. The two cameras differ in position, lens, sharpness, colours, noise
    and compression. The exact differences are written to truth.jsonl beside the photos, so that
    every later stage can be tried and checked without a camera.
    """
    from dpedkit import stages

    printer.show(stages.simulate(output, config, photos=photos, jobs=jobs, overwrite=overwrite))
