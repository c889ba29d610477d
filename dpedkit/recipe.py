"""Recipes: a TOML file whose tables are stages, run from raw photos to enhanced ones.

A stage runs when its settings, its input files or its output changed since it last finished, so
that a second run does nothing and a changed setting re-runs its stage and those after it. What is
known of earlier runs stands in `recipe-state.json` in the folder that the recipe works in.
"""

from __future__ import annotations

import glob
import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpedkit import console, stages
from dpedkit.atomic import write_json
from dpedkit.config import Config, read_toml
from dpedkit.errors import OutputExistsError, UsageError
from dpedkit.lock import locked
from dpedkit.manifest import read_json
from dpedkit.workfolder import entries

STATE_FILE = "recipe-state.json"
_SHIPPED = Path(__file__).parent / "pipelines"


@dataclass(frozen=True)
class Step:
    """One stage of a recipe, with its paths made absolute.

    Attributes
    ----------
    name : str
        The stage, and the name of its table.
    config : Config
        Its settings, of the class that the stage takes.
    paths : dict of str to Path
        What it reads and writes.
    """

    name: str
    config: Any
    paths: dict[str, Path]

    @property
    def output(self) -> Path:
        """What the stage leaves behind; the model that it measured, for `evaluate`."""
        return self.paths[_KINDS[self.name].output]

    def key(self) -> str:
        """A hash of all that decides the result: settings, paths and the files read."""
        kind = _KINDS[self.name]
        content = {
            "settings": self.config.fingerprint(),
            "files of settings": {
                name: _listing(path) for name, path in self.config.files().items()
            },
            "paths": {name: str(path) for name, path in self.paths.items()},
            "files": {name: _listing(self.paths[name]) for name in kind.inputs},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """A recipe read and checked: the folder that it works in, and its steps in order."""

    name: str
    folder: Path
    steps: list[Step]


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
            blocks.append("Nothing to do: every stage is finished, and nothing changed since.")
        return "\n\n".join(blocks)


@dataclass(frozen=True)
class RecipeList:
    """The recipes that come with dpedkit, and what each is for."""

    descriptions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return dict(self.descriptions)

    def as_text(self) -> str:
        width = max(map(len, self.descriptions))
        return "\n".join(f"{name.ljust(width)}  {text}" for name, text in self.descriptions.items())


@dataclass(frozen=True)
class _Kind:
    """How one kind of stage appears in a recipe.

    `paths` are the keys of its table that are paths, with their defaults ({name} is the recipe's
    name); `inputs` are those of them whose files decide the result.
    """

    config: str
    paths: dict[str, str]
    inputs: tuple[str, ...]
    output: str
    run: Callable[[Step, int, bool], Any]


_KINDS = {
    "simulate": _Kind(
        config="dpedkit.simulate.config:SimulateConfig",
        paths={"output": "raw"},
        inputs=(),
        output="output",
        run=lambda step, jobs, overwrite: stages.simulate(
            step.paths["output"], step.config, jobs=jobs, overwrite=overwrite
        ),
    ),
    "align": _Kind(
        config="dpedkit.align.config:AlignConfig",
        paths={"phone": "raw/iphone", "dslr": "raw/canon", "output": "aligned"},
        inputs=("phone", "dslr"),
        output="output",
        run=lambda step, jobs, overwrite: stages.align(
            step.paths["phone"],
            step.paths["dslr"],
            step.paths["output"],
            step.config,
            jobs=jobs,
            overwrite=overwrite,
        ),
    ),
    "patches": _Kind(
        config="dpedkit.patches.config:PatchConfig",
        paths={"aligned": "aligned", "output": "shards"},
        inputs=("aligned",),
        output="output",
        run=lambda step, jobs, overwrite: stages.patches(
            step.paths["aligned"],
            step.paths["output"],
            step.config,
            jobs=jobs,
            overwrite=overwrite,
        ),
    ),
    "train": _Kind(
        config="dpedkit.train.config:TrainConfig",
        paths={"shards": "shards", "output": "runs/{name}"},
        inputs=("shards",),
        output="output",
        run=lambda step, jobs, overwrite: stages.train(
            step.paths["shards"],
            step.config,
            name=step.output.name,
            runs=step.output.parent,
            resume=not overwrite,
            overwrite=overwrite,
        ),
    ),
    "evaluate": _Kind(
        config="dpedkit.evaluate.config:EvaluateConfig",
        paths={"model": "runs/{name}", "shards": "shards"},
        inputs=("model", "shards"),
        output="model",
        run=lambda step, jobs, overwrite: stages.evaluate(
            step.paths["model"], step.paths["shards"], step.config
        ),
    ),
    "enhance": _Kind(
        config="dpedkit.enhance.config:EnhanceConfig",
        paths={"model": "runs/{name}", "photos": "raw/iphone", "output": "enhanced"},
        inputs=("model", "photos"),
        output="output",
        run=lambda step, jobs, overwrite: stages.enhance(
            step.paths["model"],
            [step.paths["photos"]],
            step.paths["output"],
            step.config,
            overwrite=overwrite,
        ),
    ),
}


def find_recipe(name: str) -> Path:
    """The file of a recipe given as a path, or by the name of a shipped one.

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
        raise UsageError(f"There is no recipe '{name}'; give a TOML file, or one of: {known}.")
    return shipped


def list_recipes() -> RecipeList:
    """The shipped recipes with their descriptions."""
    files = sorted(_SHIPPED.glob("*.toml"))
    return RecipeList({path.stem: str(read_toml(path)["description"]) for path in files})


def read_recipe(name: str, folder: Path | None = None) -> Recipe:
    """Read and check a recipe before anything is run.

    Parameters
    ----------
    name : str
        A TOML file, or the name of a shipped recipe.
    folder : Path, optional
        Where to work, instead of the recipe's own `folder` (default: the current folder).

    Raises
    ------
    UsageError
        If the file is missing or not TOML, or has an unknown stage, setting or value.
    """
    path = find_recipe(name)
    tables = read_toml(path)
    tables.pop("description", None)
    own_folder = _text(tables.pop("folder", "."), f"{path} folder")
    work = (folder or Path(own_folder)).absolute()
    for table, content in tables.items():
        if table not in _KINDS or not isinstance(content, dict):
            raise UsageError(f"{path}: there is no stage '{table}'; stages: {', '.join(_KINDS)}.")
    steps = []
    for stage, kind in _KINDS.items():
        if stage in tables:
            settings = dict(tables[stage])
            paths = {
                key: work
                / _text(settings.pop(key, default), f"{path} [{stage}] {key}").replace(
                    "{name}", path.stem
                )
                for key, default in kind.paths.items()
            }
            config = _config_class(kind).from_mapping(settings, f"{path} [{stage}]")
            steps.append(Step(stage, config, paths))
    if not steps:
        raise UsageError(f"{path} has no stage; add one of: {', '.join(_KINDS)}.")
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
    settings = {key: value for key, value in content.items() if key not in _KINDS[table].paths}
    config_class.from_mapping(settings, f"{path} [{table}]")
    return {key.replace("-", "_"): value for key, value in settings.items()}


def run_recipe(
    name: str, folder: Path | None = None, *, jobs: int = 0, overwrite: bool = False
) -> RecipeSummary:
    """Run what is not finished of a recipe.

    Parameters
    ----------
    name, folder
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
    recipe = read_recipe(name, folder)
    with locked(recipe.folder):
        return _run_steps(recipe, jobs, overwrite)


def _run_steps(recipe: Recipe, jobs: int, overwrite: bool) -> RecipeSummary:
    state_file = recipe.folder / STATE_FILE
    state: dict[str, Any] = read_json(state_file) if state_file.exists() else {}
    summary = RecipeSummary(recipe.name, recipe.folder, ran=[])
    for step in recipe.steps:
        known = state.get(step.name, {})
        key = step.key()
        if known.get("key") == key and known.get("done") and step.output.exists():
            console.say(f"{step.name}: unchanged since it last ran")
        else:
            console.say(f"{step.name}: running")
            own = _is_own(step, known)
            begun = {"key": key, "output": str(step.output), "own": own}
            state[step.name] = {**begun, "done": False}
            write_json(state_file, state)
            result = _run(step, jobs, replace=own or overwrite)
            state[step.name] = {
                **begun,
                "done": True,
                "result": result.to_dict(),
                "text": result.as_text(),
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
    """Run or continue a stage; with `replace`, output made with other settings is replaced."""
    run = _KINDS[step.name].run
    try:
        return run(step, jobs, False)
    except OutputExistsError:
        if not replace:
            raise
        return run(step, jobs, True)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where} is {value!r}, but must be a path, in quotes.")
    return value


def _config_class(kind: _Kind) -> type[Config]:
    module, _, name = kind.config.partition(":")
    config_class: type[Config] = getattr(importlib.import_module(module), name)
    return config_class


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a file or of a folder's: enough to notice that they changed."""
    if path.is_dir():
        found = entries(path)
    else:  # a file, or the prefix of a checkpoint's files
        found = [path, *sorted(path.parent.glob(f"{glob.escape(path.name)}.*"))]
    files = [(entry, entry.stat()) for entry in found if entry.is_file()]
    return [(entry.name, state.st_size, state.st_mtime_ns) for entry, state in files]
