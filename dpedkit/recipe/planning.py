"""What a run of a recipe would do, and the settings that it would do it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from dpedkit.core.wording import listed
from dpedkit.recipe.finding import RecipeText
from dpedkit.recipe.kinds import Step
from dpedkit.recipe.reading import read_recipe
from dpedkit.recipe.state import read_state, reason


@dataclass(frozen=True)
class RecipePlan:
    """Which stages of a recipe would run, each with the reason; None where it would not."""

    recipe: str
    folder: Path
    reasons: dict[str, str | None]

    def to_dict(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "folder": str(self.folder),
            "would_run": [name for name, why in self.reasons.items() if why is not None],
            "reasons": self.reasons,
        }

    def as_text(self) -> str:
        width = max(map(len, self.reasons))
        lines = [
            f"{name.ljust(width)}  " + ("unchanged" if why is None else f"would run: {why}")
            for name, why in self.reasons.items()
        ]
        return "\n".join([f"{self.recipe}, working in {self.folder}:", *lines])


def plan_recipe(name: str, folder: Path | None = None, changes: Sequence[str] = ()) -> RecipePlan:
    """Say what `run_recipe` would do with the same arguments; nothing is written.

    Raises
    ------
    UsageError
        For a faulty recipe.
    DpedkitError
        If what earlier runs left in the folder cannot be read.
    """
    recipe = read_recipe(name, folder, changes)
    state = read_state(recipe.folder)
    reasons: dict[str, str | None] = {}
    running: list[Step] = []
    for step in recipe.steps:
        why = reason(step, state.get(step.name, {}))
        before = [f"[{other.name}]" for other in running if step.reads_from(other)]
        if why is None and before:
            why = f"{listed(before)} would run first"
        reasons[step.name] = why
        if why is not None:
            running.append(step)
    return RecipePlan(recipe.name, recipe.folder, reasons)


def settings_in_effect(name: str, changes: Sequence[str] = ()) -> RecipeText:
    """Every setting of every stage of a recipe, with defaults and all that it extends, as TOML.

    Raises
    ------
    UsageError
        For a faulty recipe.
    """
    recipe = read_recipe(name, changes=changes)
    blocks = [_table(step, recipe.folder) for step in recipe.steps]
    return RecipeText(recipe.name, "\n".join(blocks))


def _table(step: Step, folder: Path) -> str:
    paths = {key: _from(folder, path) for key, path in step.paths.items()}
    files = {key: _from(folder, path) for key, path in step.config.files().items()}
    settings = {**step.config.to_dict(), **files}
    given = {key: value for key, value in settings.items() if value is not None}
    unset = [f"# {key} is not set\n" for key, value in settings.items() if value is None]
    return tomli_w.dumps({step.name: {**paths, **given}}) + "".join(unset)


def _from(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
