"""Recipes read and checked, before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.config import Config, options_of
from dpedkit.core.errors import UsageError
from dpedkit.recipe.finding import find_recipe, folder_of
from dpedkit.recipe.kinds import KINDS, Step
from dpedkit.recipe.tables import change_tables, checked, read_tables


@dataclass(frozen=True)
class Recipe:
    """A recipe read and checked: the folder that it works in, and its steps in order."""

    name: str
    file: Path
    folder: Path
    steps: list[Step]


def read_recipe(name: str, folder: Path | None = None, changes: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe before anything is run.

    Parameters
    ----------
    name : str
        A TOML file, or the name of a built-in recipe.
    folder : Path, optional
        Where to work, instead of the recipe's own `folder` (default: the folder of the file; the
        current folder for a built-in recipe). All paths of the recipe begin there.
    changes : sequence of str
        Settings in place of the recipe's, each as `STAGE.KEY=VALUE`.

    Raises
    ------
    UsageError
        If the file is missing or not TOML, or has an unknown stage, setting or value.
    """
    path = find_recipe(name)
    tables = change_tables(path, read_tables(path), changes)
    own_folder = _text(tables.get("folder", "."), f"{path} folder")
    work = folder.absolute() if folder else folder_of(path) / own_folder
    steps = [_read_step(path, stage, tables[stage], work) for stage in KINDS if stage in tables]
    if not steps:
        raise UsageError(f"{path} has no stages; add one of: {', '.join(KINDS)}.")
    return Recipe(path.stem, path, work, steps)


def _read_step(path: Path, stage: str, table: dict[str, Any], work: Path) -> Step:
    paths = {}
    for key, known in KINDS[stage].paths.items():
        text = _text(table.get(key, known.default), f"{path} [{stage}] {key}")
        paths[key] = work / text.replace("{name}", path.stem)
    return Step(stage, checked(path, stage, table).beginning_at(work), paths)


def read_settings(name: str, table: str, config_class: type[Config]) -> dict[str, Any]:
    """The settings of one table of a recipe, checked; paths are left out.

    Raises
    ------
    UsageError
        If the recipe has no such table, or it has an unknown setting or value.
    """
    path = find_recipe(name)
    content = read_tables(path).get(table)
    if content is None:
        raise UsageError(f"{path} has no [{table}] table.")
    config = checked(path, table, content)
    folder = folder_of(path)
    if folder != Path.cwd():
        config = config.beginning_at(folder)
    return {
        field.name: getattr(config, field.name)
        for field in options_of(config_class)
        if field.name in content
    }


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where} is {value!r}, but must be a path, in quotes.")
    return value
