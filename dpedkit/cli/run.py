"""`dpedkit run`."""

from __future__ import annotations

from pathlib import Path

import click

from dpedkit.cli import options


@options.command(
    examples=(
        ("dpedkit run demo", "the whole pipeline on simulated photos -> demo/"),
        ("dpedkit run my.toml", "your own recipe"),
        ("dpedkit run my.toml --dry-run", "what would run, and why"),
        ("dpedkit run my.toml --set train.steps=300", "with another setting"),
        ("dpedkit run --list", "the recipes that come with dpedkit"),
        ("dpedkit run --show cpu", "one of them, to save and to change"),
    )
)
@click.argument("recipe", required=False, metavar="RECIPE")
@click.option("--list", "list_them", is_flag=True, help="List the built-in recipes and exit.")
@click.option("--show", is_flag=True, help="Print the TOML of the recipe and exit.")
@click.option(
    "--show-settings",
    is_flag=True,
    help="Print every setting that the recipe would run with, as TOML, and exit: its own, what it "
    "extends, --set and the defaults.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print which stages would run, and why, and exit; nothing is written.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="STAGE.KEY=VALUE",
    help="Use this setting instead of the recipe's, for example train.steps=300. The value is "
    "written as in TOML; quotation marks can be left out. Can be given several times.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder to work in, where all paths of the recipe begin. By default the recipe's own "
    "'folder', relative to where the file is (for a built-in recipe, to the current folder).",
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
    show: bool,
    show_settings: bool,
    dry_run: bool,
    changes: tuple[str, ...],
    folder: Path | None,
    jobs: int,
    overwrite: bool,
) -> None:
    """Run the stages of a recipe that have changed.

    RECIPE is a TOML file, or the name of a built-in one. Each table ([simulate], [align],
    [patches], [train], [evaluate], [enhance]) is a stage, with the settings of the command of that
    name; docs/recipes.md lists all of them. A stage is not run again if its settings and input are
    unchanged; if a setting changes, that stage and all later ones run again.
    """
    from dpedkit import recipe as recipes

    if list_them:
        printer.show(recipes.list_recipes())
        return
    if recipe is None:
        raise click.UsageError("Name a recipe, or use --list to see the built-in ones.")
    if show:
        printer.show(recipes.show_recipe(recipe))
    elif show_settings:
        printer.show(recipes.settings_in_effect(recipe, changes))
    elif dry_run:
        printer.show(recipes.plan_recipe(recipe, folder, changes))
    else:
        printer.show(
            recipes.run_recipe(recipe, folder, changes=changes, jobs=jobs, overwrite=overwrite)
        )
