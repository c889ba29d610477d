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
        ("dpedkit report runs/", "compares all runs of a folder"),
        ("dpedkit report runs/001 runs/mine -o compared", "compares these -> compared/report/"),
        ("dpedkit report shards/ --losses", "also compare the losses on these patches"),
        ("dpedkit report colour-loss", "the paper's figure 2 -> colour-loss.svg"),
    )
)
@click.argument("subjects", metavar="FOLDER...|colour-loss", nargs=-1, required=True)
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
    metavar="PATH",
    help="For several runs: folder for the comparison; by default that of a folder of runs, or "
    "comparison. For colour-loss: file for the plot; colour-loss.svg by default.",
)
@click.option(
    "--losses",
    is_flag=True,
    help="For shards and runs: measure each loss on true, shuffled and shifted patch pairs, and "
    "add the result to the report for good. Takes a minute or two with VGG-19 on a CPU.",
)
@click.option(
    "--vgg",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="For --losses: VGG-19 weights; by default those of the run, or those that `dpedkit "
    "train` would find without downloading.",
)
def command(
    printer: options.Printer,
    subjects: tuple[str, ...],
    photos: Path | None,
    output: Path | None,
    losses: bool,
    vgg: Path | None,
) -> None:
    """Write the HTML report of a stage.

    FOLDER is what align, patches or train wrote. The page opens straight from the disk and needs no
    network. `align`, `patches` and `train` write their own reports, and `evaluate` updates that of
    its run. On the page of aligned pairs, pairs can be rejected by hand and the decisions
    downloaded for `dpedkit align --decisions`.

    Given several runs, or a folder of runs, the command compares them: one table with the settings
    that differ and the scores (runs that differ only in their seed are one row, with the deviation
    over the seeds), the differences paired by scene with their 95% intervals, the training curves,
    and the same patches by all of them. The tables are also written as CSV and LaTeX, the figures
    as SVG, PDF and PNG (with pip install 'dpedkit[figures]'). Measure the runs with `dpedkit
    evaluate` first.

    With the word colour-loss instead of a folder, the command reproduces figure 2 of the paper: how
    the MSE and the colour loss grow as two images are shifted against each other, with both
    definitions of the blur, and whether the paper's claim about them holds. (For a folder of that
    name, write ./colour-loss.)
    """
    from dpedkit import report, stages

    if vgg is not None and not losses:
        raise UsageError("--vgg can only be used with --losses.")
    if subjects == (_COLOUR_LOSS,):
        if losses:
            raise UsageError("--losses needs a shards folder or the folder of a run.")
        printer.show(stages.colour_loss(output or Path(f"{_COLOUR_LOSS}.svg"), photos))
        return
    if photos is not None:
        raise UsageError("--photos can only be used with `dpedkit report colour-loss`.")
    folders = [Path(subject) for subject in subjects]
    if len(folders) > 1 or report.holds_runs(folders[0]):
        if losses:
            raise UsageError("--losses needs a shards folder or the folder of a run.")
        printer.show(report.compare(folders, output))
        return
    if output is not None:
        raise UsageError("-o can only be used with several runs or with colour-loss.")
    (folder,) = folders
    printer.show(stages.losses(folder, vgg) if losses else report.write_report(folder))
