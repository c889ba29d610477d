"""`dpedkit doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options


@options.command(
    examples=(
        ("dpedkit doctor", "what is installed, and what is missing"),
        ("dpedkit doctor --vgg vgg19.mat", "whether a file holds the weights of VGG-19"),
    )
)
@click.option(
    "--vgg",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Look at this file of VGG-19 weights, too, as `dpedkit train --vgg FILE` would.",
)
def command(printer: options.Printer, vgg: Path | None) -> None:
    """Show what is installed here, and what is missing.

    Versions, devices, photo formats, and the weights of VGG-19: where they are looked for, of which
    form a file is that was found, whether all layers can be read, and whether it is the published
    file by its hash.

    Attach its output when you report a problem.
    """
    from dpedkit import doctor

    printer.show(doctor.examine(vgg))
