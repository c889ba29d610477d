"""Recipes found, read and checked, before anything is run."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.config import Config, read_toml
from dpedkit.core.errors import UsageError
from dpedkit.recipe.kinds import KINDS, Step

_BESIDE_STAGES = ("description", "folder")
_SHIPPED = Path(__file__).parents[1] / "pipelines"


@dataclass(frozen=True)
class Recipe:
    """A recipe read and checked: the folder that it works in, and its steps in order."""

    name: str
    folder: Path
    steps: list[Step]


@dataclass(frozen=True)
class RecipeList:
    """The recipes that come with dpedkit, and what each is for."""

    descriptions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return dict(self.descriptions)

    def as_text(self) -> str:
        width = max(map(len, self.descriptions))
        return "\n".join(f"{name.ljust(width)}  {text}" for name, text in self.descriptions.items())


def find_recipe(name: str) -> Path:
    """The file of a recipe given as a path, or by the name of a built-in one.

    Raises
    ------
    UsageError
        If there is neither.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    shipped = _SHIPPED / f"{name}.toml"
    if not shipped.is_file():
        known = ", ".join(sorted(path.stem for path in _SHIPPED.glob("*.toml")))
        what = f"{name} is a folder" if path.is_dir() else f"There is no recipe '{name}'"
        raise UsageError(f"{what}; give a TOML file, or one of: {known}.")
    return shipped


def list_recipes() -> RecipeList:
    """The built-in recipes with their descriptions."""
    files = sorted(_SHIPPED.glob("*.toml"))
    return RecipeList({path.stem: str(read_toml(path)["description"]) for path in files})


def read_recipe(name: str, folder: Path | None = None) -> Recipe:
    """Read and check a recipe before anything is run.

    Parameters
    ----------
    name : str
        A TOML file, or the name of a built-in recipe.
    folder : Path, optional
        Where to work, instead of the recipe's own `folder` (default: the current folder).

    Raises
    ------
    UsageError
        If the file is missing or not TOML, or has an unknown stage, setting or value.
    """
    path = find_recipe(name)
    tables = read_toml(path)
    beside = {key: tables.pop(key) for key in _BESIDE_STAGES if key in tables}
    own_folder = _text(beside.get("folder", "."), f"{path} folder")
    work = (folder or Path(own_folder)).absolute()
    for name, content in tables.items():
        _check_stage(path, name, content)
    steps = []
    for stage, kind in KINDS.items():
        if stage in tables:
            settings = dict(tables[stage])
            paths = {
                key: work
                / _text(settings.pop(key, default), f"{path} [{stage}] {key}").replace(
                    "{name}", path.stem
                )
                for key, default in kind.paths.items()
            }
            config = kind.config_class.from_mapping(settings, f"{path} [{stage}]")
            steps.append(Step(stage, config, paths))
    if not steps:
        raise UsageError(f"{path} has no stages; add one of: {', '.join(KINDS)}.")
    return Recipe(path.stem, work, steps)


def read_settings(name: str, table: str, config_class: type[Config]) -> dict[str, Any]:
    """The settings of one table of a recipe, checked; paths are left out.

    Raises
    ------
    UsageError
        If the recipe has no such table, or it has an unknown setting or value.
    """
    path = find_recipe(name)
    content = read_toml(path).get(table)
    if not isinstance(content, dict):
        raise UsageError(f"{path} has no [{table}] table.")
    settings = {key: value for key, value in content.items() if key not in KINDS[table].paths}
    config_class.from_mapping(settings, f"{path} [{table}]")
    return {key.replace("-", "_"): value for key, value in settings.items()}


def _check_stage(path: Path, name: str, content: Any) -> None:
    """Raise UsageError unless this is a table with the name of a stage."""
    if name in KINDS and not isinstance(content, dict):
        raise UsageError(
            f"{path}: '{name}' is a stage; write [{name}] on a line of its own, with its settings "
            "below it."
        )
    if name not in KINDS:
        nearest = difflib.get_close_matches(name, [*KINDS, *_BESIDE_STAGES], n=1)
        cure = f"did you mean '{nearest[0]}'?" if nearest else f"stages: {', '.join(KINDS)}."
        raise UsageError(f"{path}: there is no stage '{name}'; {cure}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where} is {value!r}, but must be a path, in quotes.")
    return value
