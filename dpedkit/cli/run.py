"""`dpedkit run`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options


@options.command(
    examples=(
        ("dpedkit run demo", "the whole chain on photos that it makes itself -> demo/"),
        ("dpedkit run my.toml", "your own recipe"),
        ("dpedkit run --list", "the recipes that come with dpedkit"),
    )
)
@click.argument("recipe", required=False, metavar="RECIPE")
@click.option("--list", "list_them", is_flag=True, help="Show the shipped recipes and stop.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Folder to work in, instead of the recipe's own 'folder' (by default the current one).",
)
@options.jobs_option
@click.option(
    "--overwrite",
    is_flag=True,
    help="Also replace output with other settings that this recipe did not make. What it made "
    "itself is replaced without asking.",
)
def command(
    printer: options.Printer,
    recipe: str | None,
    list_them: bool,
    folder: Path | None,
    jobs: int,
    overwrite: bool,
) -> None:
    """Run the stages of a recipe, only what changed.

    RECIPE is a TOML file, or the name of a shipped one. Each table ([simulate], [align],
    [patches], [train], [evaluate], [enhance]) is a stage with the settings of the command of that
    name. A stage whose settings and input are unchanged is not run again; when a setting changes,
    that stage and those after it are.
    """
    from dpedkit import recipe as recipes

    if list_them:
        printer.show(recipes.list_recipes())
        return
    if recipe is None:
        raise click.UsageError("Give a recipe, or --list to see the shipped ones.")
    printer.show(recipes.run_recipe(recipe, folder, jobs=jobs, overwrite=overwrite))
