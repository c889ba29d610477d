"""`dpedkit report`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.core.errors import UsageError

_COLOUR_LOSS = "colour-loss"


@options.command(
    examples=(
        ("dpedkit report aligned/", "writes aligned/report/index.html"),
        ("dpedkit report shards/", "what was kept and dropped, with samples"),
        ("dpedkit report runs/001", "curves, the paper's tables, before and after"),
        ("dpedkit report shards/ --losses", "and what each loss minds on these patches"),
        ("dpedkit report colour-loss", "the paper's figure 2 -> colour-loss.svg"),
    )
)
@click.argument("subject", metavar="FOLDER|colour-loss")
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="For colour-loss: measure on these photos instead of simulated ones.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.svg",
    help="For colour-loss: where to draw the curves; colour-loss.svg unless given.",
)
@click.option(
    "--losses",
    is_flag=True,
    help="For shards and runs: measure how each loss judges true, shuffled and shifted patch "
    "pairs, and put that on the page, where it stays. Takes a minute or two with VGG-19 on a CPU.",
)
@click.option(
    "--vgg",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="For --losses: weights of VGG-19; by default those of the run, or those that are found as "
    "for `dpedkit train`, without a download.",
)
def command(
    printer: options.Printer,
    subject: str,
    photos: Path | None,
    output: Path | None,
    losses: bool,
    vgg: Path | None,
) -> None:
    """Write the HTML report of what a stage made.

    FOLDER is what align, patches or train wrote. The page needs no network and opens from the disk.
    `align`, `patches` and `train` write their own, `evaluate` that of its run again. On the page of
    aligned pairs, pairs can be rejected by hand and the decisions downloaded for `dpedkit align
    --decisions`.

    The word colour-loss instead of a folder measures figure 2 of the paper: how the MSE and the
    colour loss grow as two images are shifted against each other, with both definitions of the
    blur, and whether what the paper says of them holds. (A folder of that name is ./colour-loss.)
    """
    from dpedkit import report, stages

    if vgg is not None and not losses:
        raise UsageError("--vgg goes with --losses only.")
    if subject == _COLOUR_LOSS:
        if losses:
            raise UsageError("--losses goes with a folder of shards or of a run.")
        printer.show(stages.colour_loss(output or Path(f"{_COLOUR_LOSS}.svg"), photos))
        return
    if photos is not None or output is not None:
        raise UsageError("--photos and -o go with `dpedkit report colour-loss` only.")
    folder = Path(subject)
    printer.show(stages.losses(folder, vgg) if losses else report.write_report(folder))
