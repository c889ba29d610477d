"""`dpedkit run`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options


@options.command(
    examples=(
        ("dpedkit run demo", "the whole pipeline on simulated photos -> demo/"),
        ("dpedkit run my.toml", "your own recipe"),
        ("dpedkit run --list", "the recipes that come with dpedkit"),
    )
)
@click.argument("recipe", required=False, metavar="RECIPE")
@click.option("--list", "list_them", is_flag=True, help="List the built-in recipes and exit.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Folder to work in, instead of the recipe's own 'folder' (the current folder by default).",
)
@options.jobs_option
@options.cluster_option
@click.option(
    "--overwrite",
    is_flag=True,
    help="Also replace output that has other settings and was not made by this recipe. The "
    "recipe's own output is always replaced.",
)
def command(
    printer: options.Printer,
    recipe: str | None,
    list_them: bool,
    folder: Path | None,
    jobs: int,
    overwrite: bool,
) -> None:
    """Run the stages of a recipe that have changed.

    RECIPE is a TOML file, or the name of a built-in one. Each table ([simulate], [align],
    [patches], [train], [evaluate], [enhance]) is a stage, with the settings of the command of that
    name. A stage is not run again if its settings and input are unchanged; if a setting changes,
    that stage and all later ones run again.
    """
    from dpedkit import recipe as recipes

    if list_them:
        printer.show(recipes.list_recipes())
        return
    if recipe is None:
        raise click.UsageError("Name a recipe, or use --list to see the built-in ones.")
    printer.show(recipes.run_recipe(recipe, folder, jobs=jobs, overwrite=overwrite))
