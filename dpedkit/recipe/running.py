"""Run recipes: every stage that is not finished, with a record of those that are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpedkit.core import console
from dpedkit.core.atomic import explain_os_error, write_json
from dpedkit.core.errors import OutputExistsError
from dpedkit.core.lock import LOCK_NAME, locked
from dpedkit.recipe.kinds import KINDS, Step
from dpedkit.recipe.reading import Recipe, read_recipe
from dpedkit.recipe.state import STATE_FILE, read_state, reason, records_of


@dataclass(frozen=True)
class RecipeSummary:
    """What a recipe's run did: the result of every stage, run now or earlier."""

    recipe: str
    folder: Path
    ran: list[str]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    reports: list[Path] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "folder": str(self.folder),
            "ran": self.ran,
            "reports": [str(report) for report in self.reports],
            "results": self.results,
        }

    def as_text(self) -> str:
        blocks = [f"== {name}\n{text}" for name, text in self.texts.items()]
        if self.reports:
            blocks.append("\n".join(["== reports", *map(str, self.reports)]))
        if not self.ran:
            blocks.append("Nothing to do: every stage is finished, and nothing has changed.")
        return "\n\n".join(blocks)


def run_recipe(
    name: str,
    folder: Path | None = None,
    *,
    changes: Sequence[str] = (),
    jobs: int = 0,
    overwrite: bool = False,
) -> RecipeSummary:
    """Run the unfinished stages of a recipe.

    Parameters
    ----------
    name, folder, changes
        As for `read_recipe`.
    jobs : int
        Worker processes; 0 uses every core.
    overwrite : bool
        Also replace output made with other settings that was there before the recipe first ran.

    Raises
    ------
    UsageError
        For a faulty recipe, before anything is run.
    DpedkitError
        What a stage raises; the stages before it are finished and stay so.
    FolderInUseError
        If another recipe runs in the folder.
    """
    recipe = read_recipe(name, folder, changes)
    console.say(f"{recipe.file}: working in {recipe.folder}")
    with locked(recipe.folder):
        return _run_steps(recipe, jobs, overwrite)


def _run_steps(recipe: Recipe, jobs: int, overwrite: bool) -> RecipeSummary:
    state_file = recipe.folder / STATE_FILE
    state = read_state(recipe.folder)
    summary = RecipeSummary(recipe.name, recipe.folder, ran=[])
    for step in recipe.steps:
        known = state.get(step.name, {})
        why = reason(step, known)
        if why is None:
            console.say(f"{step.name}: unchanged since its last run")
        else:
            console.say(f"{step.name}: running ({why})")
            own = _is_own(step, known)
            begun = {
                "key": step.key(),
                "made_from": step.made_from(),
                "output": str(step.output),
                "own": own,
            }
            state[step.name] = {**begun, "done": False}
            write_json(state_file, state)
            result = _run(step, jobs, replace=own or overwrite)
            state[step.name] = {
                **begun,
                "done": True,
                "result": result.to_dict(),
                "text": result.as_text(),
                "records": records_of(step),
            }
            write_json(state_file, state)
            summary.ran.append(step.name)
        summary.results[step.name] = state[step.name]["result"]
        summary.texts[step.name] = state[step.name]["text"]
        report = step.output / "report" / "index.html"
        if report.is_file() and report not in summary.reports:
            summary.reports.append(report)
    return summary


def _is_own(step: Step, known: dict[str, Any]) -> bool:
    """Whether a stage's output is this recipe's to replace: it was not there before the recipe."""
    if not step.output.exists():
        return True
    return bool(known.get("own")) and known.get("output") == str(step.output)


def _run(step: Step, jobs: int, replace: bool) -> Any:
    """Run or continue a stage; with `replace`, output made with other settings is replaced.

    A network that was trained with other settings or patches is kept beside the new one.
    """
    run = KINDS[step.name].run
    try:
        return run(step, jobs, False)
    except OutputExistsError:
        if not replace:
            raise
        if step.name != "train":
            return run(step, jobs, True)
        kept = _set_aside(step.output)
        console.say(f"train: the previous run is kept as {kept}")
        return run(step, jobs, False)


def _set_aside(run: Path) -> Path:
    """Give a run's folder the next free number: `runs/mine` becomes `runs/mine.1`."""
    with locked(run):
        numbers = itertools.count(1)
        kept = next(
            path for n in numbers if not (path := run.with_name(f"{run.name}.{n}")).exists()
        )
        try:
            run.rename(kept)
        except OSError as error:
            raise explain_os_error(error, kept) from error
        (kept / LOCK_NAME).unlink(missing_ok=True)
    return kept
