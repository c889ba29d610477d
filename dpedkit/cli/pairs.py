"""`dpedkit pairs`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.pairing.config import PairingConfig


@options.command(
    examples=(
        ("dpedkit pairs raw/iphone raw/canon", "by name, as align does"),
        ("dpedkit pairs raw/iphone raw/canon --pair-by time", "finds the clock offset"),
        ("dpedkit pairs raw/a raw/b --pair-by time -o pairs.csv", "a list to edit by hand"),
        ("dpedkit pairs raw/a raw/b --report pairs.html", "thumbnails to look at"),
    )
)
@options.path_argument("phone", "PHONE_FOLDER")
@options.path_argument("dslr", "DSLR_FOLDER")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write the pairs as a list for --pair-by csv; undecided photos are listed as comments.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write a page with thumbnails of the pairs and of the photos without a partner.",
)
@options.config_options(PairingConfig)
@options.overwrite_option
def command(
    printer: options.Printer,
    phone: Path,
    dslr: Path,
    output: Path | None,
    report: Path | None,
    config: PairingConfig,
    overwrite: bool,
) -> None:
    """Show which photos belong together, before any work is done.

    Shows the pairs, photos without a partner, photos with several possible partners, bursts, and
    with --pair-by time also how far the cameras' clocks differ. `dpedkit align` pairs the photos in
    the same way if it is given the same options.
    """
    from dpedkit import stages

    printer.show(stages.pairs(phone, dslr, config, output, report, overwrite=overwrite))
