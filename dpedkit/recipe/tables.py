"""The tables of a recipe, together with those of the recipes that it extends."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpedkit.core.config import Config, options_of, read_toml, suggestion
from dpedkit.core.errors import UsageError
from dpedkit.core.wording import listed
from dpedkit.recipe.finding import find_recipe
from dpedkit.recipe.kinds import KINDS

EXTENDS = "extends"
# The keys of a recipe that are not tables, each with what it is for.
TOP_KEYS = {
    "description": "What the recipe is for, in one line; `dpedkit run --list` shows it.",
    "folder": "Folder that the stages work in, relative to the recipe's own.",
    EXTENDS: "Recipe to start from: a file, relative to this recipe's folder, or the name of a "
    "built-in one.",
}
Tables = dict[str, Any]


def read_tables(path: Path, below: Sequence[Path] = ()) -> Tables:
    """Read a recipe and what it extends; the keys of its tables are settings with `_`.

    `extends` at the top takes over everything but the description; in the table of a stage, the
    settings of that stage but not its paths. What the recipe itself says comes first.

    Parameters
    ----------
    path : Path
        The recipe.
    below : sequence of Path
        The recipes that extend it, from the first on.

    Raises
    ------
    UsageError
        If a recipe cannot be read, has an unknown stage, or extends itself.
    """
    if any(path.resolve() == other.resolve() for other in below):
        chain = " -> ".join(map(str, [*below, path]))
        raise UsageError(f"{path} extends itself: {chain}.")
    own = read_toml(path)
    for name, content in own.items():
        _check_stage(path, name, content)
    tables: Tables = {}
    if EXTENDS in own:
        tables = _extended(path, own.pop(EXTENDS), "", below)
        tables.pop("description", None)
    for name, content in own.items():
        if name not in KINDS:
            tables[name] = content
            continue
        settings = {key.replace("-", "_"): value for key, value in content.items()}
        base = tables.get(name, {})
        if EXTENDS in settings:
            base = {**base, **_settings_of(path, settings.pop(EXTENDS), name, below)}
        tables[name] = {**base, **settings}
    return tables


def _extended(path: Path, value: Any, table: str, below: Sequence[Path]) -> Tables:
    """The tables of the recipe that `extends` names, in `path` or in one of its tables."""
    where = f"{path} {table}".rstrip()
    if not isinstance(value, str):
        raise UsageError(f"{where}: extends is {value!r}, but must be a recipe, in quotes.")
    try:
        base = find_recipe(value, path.parent)
    except UsageError as error:
        raise UsageError(f"{where}: extends is '{value}'. {error}") from None
    if not base.is_file():
        raise UsageError(f"{where}: extends is '{value}', but there is no file {base}.")
    tables = read_tables(base, [*below, path])
    for stage in KINDS:
        if stage in tables:  # so that an error names the file that it is in
            checked(base, stage, tables[stage])
    return tables


def checked(path: Path, stage: str, table: Tables) -> Config:
    """The settings of a stage's table without its paths, as the configuration of the stage.

    Raises
    ------
    UsageError
        For an unknown key or a value out of its limits.
    """
    kind = KINDS[stage]
    settings = {key: value for key, value in table.items() if key not in kind.paths}
    return kind.config_class.from_mapping(
        settings, f"{path} [{stage}]", beside=[*kind.paths, EXTENDS]
    )


def _settings_of(path: Path, value: Any, stage: str, below: Sequence[Path]) -> Tables:
    tables = _extended(path, value, f"[{stage}]", below)
    if stage not in tables:
        raise UsageError(
            f"{path} [{stage}]: extends is '{value}', but that recipe has no [{stage}]."
        )
    return {key: content for key, content in tables[stage].items() if key not in KINDS[stage].paths}


def change_tables(path: Path, tables: Tables, changes: Sequence[str]) -> Tables:
    """The tables with settings given on the command line, each as `STAGE.KEY=VALUE`.

    A value that is not TOML is taken as a text, since shells take quotation marks away.

    Raises
    ------
    UsageError
        If a change is not of that form, or names no stage of the recipe or no key of the stage.
    """
    changed = {
        name: dict(table) if isinstance(table, dict) else table for name, table in tables.items()
    }
    for change in changes:
        key, equals, text = change.partition("=")
        stage, dot, name = key.strip().partition(".")
        where = f"--set {change}"
        if not (equals and dot):
            raise UsageError(
                f"{where}: write a stage, a setting and its value, as in --set train.steps=300."
            )
        stages = [kind for kind in KINDS if kind in tables]
        if stage not in stages:
            cure = suggestion(stage, stages) if stage not in KINDS else f"it has {listed(stages)}."
            raise UsageError(f"{where}: {path} has no stage '{stage}'; {cure}")
        name = name.strip().replace("-", "_")
        keys = keys_of(stage)
        if name not in keys:
            raise UsageError(f"{where}: there is no setting '{name}'; {suggestion(name, keys)}")
        changed[stage][name] = _value(text.strip())
    return changed


def keys_of(stage: str) -> list[str]:
    """The keys that the table of a stage can have: its paths, then its settings."""
    kind = KINDS[stage]
    return [*kind.paths, *(field.name for field in options_of(kind.config_class))]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _check_stage(path: Path, name: str, content: Any) -> None:
    """Raise UsageError unless this is a table with the name of a stage, or another known key."""
    if name in TOP_KEYS:
        return
    if name not in KINDS:
        raise UsageError(
            f"{path}: there is no stage '{name}'; {suggestion(name, [*KINDS, *TOP_KEYS])}"
        )
    if not isinstance(content, dict):
        raise UsageError(
            f"{path}: '{name}' is a stage; write [{name}] on a line of its own, with its settings "
            "below it."
        )
