"""Recipes found: files of people, and the built-in ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.config import read_toml
from dpedkit.core.errors import UsageError
from dpedkit.recipe.kinds import KINDS

_SHIPPED = Path(__file__).parents[1] / "pipelines"


@dataclass(frozen=True)
class RecipeList:
    """The recipes that come with dpedkit: what each is for, and which stages it has."""

    descriptions: dict[str, str]
    stages: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        return {
            name: {"description": text, "stages": self.stages[name]}
            for name, text in self.descriptions.items()
        }

    def as_text(self) -> str:
        blocks = [
            f"{name}\n    {text}\n    {' -> '.join(self.stages[name])}"
            for name, text in self.descriptions.items()
        ]
        return "\n".join(
            [*blocks, "", "`dpedkit run --show NAME` prints a recipe, to save and to change."]
        )


@dataclass(frozen=True)
class RecipeText:
    """The TOML of a recipe, to print."""

    recipe: str
    toml: str

    def to_dict(self) -> dict[str, Any]:
        return {"recipe": self.recipe, "toml": self.toml}

    def as_text(self) -> str:
        return self.toml.rstrip()


def find_recipe(name: str, folder: Path | None = None) -> Path:
    """The file of a recipe given as a path, or by the name of a built-in one.

    Parameters
    ----------
    name : str
        A path, or the name of a built-in recipe.
    folder : Path, optional
        Where a relative path begins (default: the current folder).

    Raises
    ------
    UsageError
        If there is neither.
    """
    path = (folder or Path()) / name
    if path.suffix == ".toml" or path.is_file():
        return path
    shipped = _SHIPPED / f"{name}.toml"
    if not shipped.is_file():
        known = ", ".join(sorted(path.stem for path in _SHIPPED.glob("*.toml")))
        what = f"{name} is a folder" if path.is_dir() else f"There is no recipe '{name}'"
        raise UsageError(f"{what}; give a TOML file, or one of: {known}.")
    return shipped


def folder_of(recipe: Path) -> Path:
    """Where the paths of a recipe begin: its own folder; the current one for a built-in recipe."""
    folder = recipe.absolute().parent
    return Path.cwd() if folder.resolve() == _SHIPPED.resolve() else folder


def list_recipes() -> RecipeList:
    """The built-in recipes with their descriptions and stages."""
    recipes = {path.stem: read_toml(path) for path in sorted(_SHIPPED.glob("*.toml"))}
    return RecipeList(
        {name: str(tables["description"]) for name, tables in recipes.items()},
        {name: [stage for stage in KINDS if stage in tables] for name, tables in recipes.items()},
    )


def show_recipe(name: str) -> RecipeText:
    """A recipe as it is written.

    Raises
    ------
    UsageError
        If it is missing or not TOML.
    """
    path = find_recipe(name)
    read_toml(path)
    return RecipeText(path.stem, path.read_text(encoding="utf-8"))
