"""`dpedkit sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dpedkit.cli import options


class _Folds(click.ParamType):
    """Numbers with commas between them."""

    name = "folds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"'{value}' is not a list of numbers such as 1,2.", param, ctx)


@options.command(
    examples=(
        ("dpedkit sweep cpu --seeds 3", "how much the result depends on the seed"),
        ("dpedkit sweep cpu --set train.content_weight=1,4 --seeds 3", "two settings, six runs"),
        (
            "dpedkit sweep my.toml --set train.batch=8,16 --cross-validate 5",
            "measured on all scenes",
        ),
        (
            "dpedkit sweep my.toml --set train.batch=8,16 --cross-validate 5 --only 1,2",
            "on two of the five folds",
        ),
    )
)
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="train.KEY=VALUE,...",
    help="Values of a setting of [train], for example train.content_weight=1,4. Given several "
    "times, every combination is trained. train.shards=FOLDER trains on other shards than the "
    "recipe names; train.init=MODEL also sets the generator and norm to those of the model.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Train every combination with this number of seeds, counted up from the recipe's.",
)
@click.option(
    "--cross-validate",
    "folds",
    type=click.IntRange(min=2),
    metavar="FOLDS",
    help="Divide the scenes of the train and val splits into this many folds, train on all but "
    "one, and measure on that one. The test split is never read.",
)
@click.option(
    "--only",
    type=_Folds(),
    default=(),
    metavar="FOLD,...",
    help="Do only these of the folds, for example 1,2: to choose settings in less time. The others "
    "can follow, by the same command without this option.",
)
@click.option(
    "--split",
    type=click.Choice(["val", "test"]),
    default="val",
    show_default=True,
    help="Split to measure without --cross-validate. Choose settings by 'val', and measure the "
    "chosen ones on 'test' once.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder where all paths of the recipe begin, as for `dpedkit run`.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder for the runs, the summary and the report; sweeps/NAME in the recipe's folder by "
    "default.",
)
def command(
    printer: options.Printer,
    recipe: str,
    changes: tuple[str, ...],
    seeds: int,
    folds: int | None,
    only: tuple[int, ...],
    split: str,
    folder: Path | None,
    output: Path | None,
) -> None:
    """Train a recipe with several settings and seeds, and compare the networks.

    RECIPE is a TOML file, or the name of a built-in one; only its [train] table is used, on the
    shards that it names. The networks are trained one after the other. To continue a sweep that was
    stopped, give the same command again; with more values or seeds, only what is new is trained.
    The untouched phone patches, the colour polynomial, and with `init` the network that training
    starts from are measured on the same patches.
    """
    from dpedkit.sweep import run_sweep

    printer.show(
        run_sweep(
            recipe,
            folder,
            output,
            changes=changes,
            seeds=seeds,
            folds=folds,
            only=only,
            split=split,
        )
    )
