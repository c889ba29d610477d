"""`dpedkit doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options


@options.command(
    examples=(
        ("dpedkit doctor", "what is installed, and what is missing"),
        ("dpedkit doctor --vgg vgg19.mat", "does this file hold the weights of VGG-19?"),
    )
)
@click.option(
    "--vgg",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also examine this VGG-19 weights file, as `dpedkit train --vgg FILE` would.",
)
def command(printer: options.Printer, vgg: Path | None) -> None:
    """Show what is installed here, and what is missing.

    Lists versions, devices and photo formats. For the weights of VGG-19, it lists the places
    searched and, for each file found, its format, whether all layers can be read, and whether its
    hash is that of the published file.

    Attach the output when you report a problem.
    """
    from dpedkit import doctor

    printer.show(doctor.examine(vgg))
