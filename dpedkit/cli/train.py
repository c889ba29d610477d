"""`dpedkit train`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options
from dpedkit.training.config import TrainConfig


@options.command(
    examples=(
        ("dpedkit train shards/", "the paper's run -> runs/001/"),
        ("dpedkit train shards/ --recipe cpu", "a small network for machines without a GPU"),
        ("dpedkit train shards/ --name mine --resume", "continue a run that was stopped"),
        ("torchrun --nproc-per-node 4 -m dpedkit train shards/", "the same run on four GPUs"),
    )
)
@options.path_argument("shards", "SHARDS_FOLDER")
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    is_eager=True,
    expose_value=False,
    callback=options.defaults_from_recipe("train", TrainConfig),
    help="Take the settings of the [train] table of a recipe, shipped (see `dpedkit run --list`) "
    "or your own file; options given here win.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the run's folder below runs/; by default a number."
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    metavar="FOLDER",
    help="Folder of all runs.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run --name (by default the newest) to its end; give the settings that it "
    "began with. A named run that is not there yet is begun.",
)
@options.config_options(TrainConfig)
def command(
    printer: options.Printer,
    shards: Path,
    name: str | None,
    runs: Path,
    resume: bool,
    config: TrainConfig,
) -> None:
    """Train an enhancement network on patches.

    SHARDS_FOLDER is what `dpedkit patches` wrote.

    The defaults are the paper's run. The best and the last network so far are always there as
    model.safetensors and last.safetensors in the run's folder, also when the run is stopped early
    (Ctrl-C), beside the log, the settings, sample pictures and checkpoints to resume from.

    The content loss compares features of VGG-19. Where its weights cannot be had, the run says so,
    records it, and compares structure (MS-SSIM) and colours (L1) instead.
    """
    from dpedkit import stages

    summary = stages.train(shards, config, name=name, runs=runs, resume=resume)
    if summary is not None:
        printer.show(summary)
