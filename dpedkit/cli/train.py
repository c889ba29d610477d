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
        ("dpedkit train shards/ --resume --steps 3000", "extend a finished run"),
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
    help="Use the settings in the [train] table of a recipe, either built-in (see `dpedkit run "
    "--list`) or your own file. Options given here take precedence.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the run's folder in runs/; a number by default."
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    metavar="FOLDER",
    help="Folder that holds all runs.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run --name (the newest by default) with the settings that it was started "
    "with; a larger --steps extends it. If there is no run of that name, start it.",
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

    The defaults reproduce the paper's run. The run's folder always holds the best and the latest
    network so far, as model.safetensors and last.safetensors, even if the run is stopped early
    (Ctrl-C). It also holds the log, the settings, sample pictures, and checkpoints to resume from.

    The content loss compares features of VGG-19. If its weights are not available, the run says so,
    records it, and compares structure (MS-SSIM) and colours (L1) instead.
    """
    from dpedkit import stages

    summary = stages.train(shards, config, name=name, runs=runs, resume=resume, extend=resume)
    if summary is not None:
        printer.show(summary)
