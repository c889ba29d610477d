"""What a recipe can hold: its stages, the paths that they take, and how each is run."""

from __future__ import annotations

import glob
import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit import stages
from dpedkit.core.config import Config
from dpedkit.core.workfolder import entries


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
        return self.paths[KINDS[self.name].output]

    @property
    def inputs(self) -> dict[str, Path]:
        """The folders and files whose content decides the result, by their keys."""
        return {name: self.paths[name] for name in KINDS[self.name].inputs}

    def reads_from(self, earlier: Step) -> bool:
        """Whether the output of an earlier stage is, holds or is in what this one reads."""
        if "output" not in earlier.paths:  # `evaluate` leaves no files that another stage reads
            return False
        made = earlier.output
        return any(
            made == path or made in path.parents or path in made.parents
            for path in self.inputs.values()
        )

    def key(self) -> str:
        """A hash of all that decides the result: settings, paths and the files read."""
        content = {
            "settings": self.config.fingerprint(),
            "files of settings": {
                name: _listing(path) for name, path in self.config.files().items()
            },
            "paths": {name: str(path) for name, path in self.paths.items()},
            "files": {name: _listing(path) for name, path in self.inputs.items()},
        }
        # Left out where nothing is noted, so that what earlier versions finished stays finished.
        if notes := self.config.notes():
            content["notes"] = notes
        return _hash(content)

    def made_from(self) -> dict[str, Any]:
        """What `key` is a hash of, in a form that says later what has changed."""
        read = {**self.config.files(), **self.inputs}
        return {
            "settings": self.config.to_dict(),
            "notes": self.config.notes(),
            "paths": {name: str(path) for name, path in self.paths.items()},
            "files": {
                name: {"count": len(listing), "hash": _hash(listing)}
                for name, listing in ((name, _listing(path)) for name, path in read.items())
            },
        }


@dataclass(frozen=True)
class PathKey:
    """A key of a stage's table that is a path: its default and what it is for.

    {name} in the default is the recipe's name.
    """

    default: str
    help: str


@dataclass(frozen=True)
class Kind:
    """How one kind of stage appears in a recipe.

    `paths` are the keys of its table that are paths; `inputs` are those of them whose files decide
    the result.
    """

    config: str
    paths: dict[str, PathKey]
    inputs: tuple[str, ...]
    output: str
    run: Callable[[Step, int, bool], Any]

    @property
    def config_class(self) -> type[Config]:
        """The class of its settings, loaded when a recipe has such a stage."""
        module, _, name = self.config.partition(":")
        config_class: type[Config] = getattr(importlib.import_module(module), name)
        return config_class


def _run(step: Step, jobs: int, overwrite: bool) -> Any:
    """Run a stage that takes its paths first, in the order in which its kind names them."""
    stage = getattr(stages, step.name)
    return stage(*step.paths.values(), step.config, jobs=jobs, overwrite=overwrite)


KINDS = {
    "simulate": Kind(
        config="dpedkit.simulate.config:SimulateConfig",
        paths={"output": PathKey("raw", "Folder for the photos, in iphone/ and canon/.")},
        inputs=(),
        output="output",
        run=_run,
    ),
    "align": Kind(
        config="dpedkit.align.config:AlignFoldersConfig",
        paths={
            "phone": PathKey("raw/iphone", "Folder of the phone photos."),
            "dslr": PathKey("raw/canon", "Folder of the DSLR photos."),
            "output": PathKey("aligned", "Folder for the aligned photos."),
        },
        inputs=("phone", "dslr"),
        output="output",
        run=_run,
    ),
    "patches": Kind(
        config="dpedkit.patches.config:PatchConfig",
        paths={
            "aligned": PathKey("aligned", "Folder of aligned photos, as [align] writes it."),
            "output": PathKey("shards", "Folder for the shards."),
        },
        inputs=("aligned",),
        output="output",
        run=_run,
    ),
    "train": Kind(
        config="dpedkit.training.config:TrainConfig",
        paths={
            "shards": PathKey("shards", "Folder of shards, as [patches] writes it."),
            "output": PathKey("runs/{name}", "Folder for the run."),
        },
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
    "evaluate": Kind(
        config="dpedkit.evaluation.config:EvaluateConfig",
        paths={
            "model": PathKey("runs/{name}", "Folder of a run, or a model file."),
            "shards": PathKey("shards", "Folder of shards to measure on."),
        },
        inputs=("model", "shards"),
        output="model",
        run=lambda step, jobs, overwrite: stages.evaluate(
            step.paths["model"], step.paths["shards"], step.config
        ),
    ),
    "enhance": Kind(
        config="dpedkit.enhancement.config:EnhanceConfig",
        paths={
            "model": PathKey("runs/{name}", "Folder of a run, or a model file."),
            "photos": PathKey("raw/iphone", "Folder of photos, or a photo."),
            "output": PathKey("enhanced", "Folder for the enhanced photos."),
        },
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


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a file or of a folder's: enough to notice that they changed."""
    if path.is_dir():
        found = entries(path)
    else:  # a file, or the prefix of a checkpoint's files
        found = [path, *sorted(path.parent.glob(f"{glob.escape(path.name)}.*"))]
    files = [(entry, entry.stat()) for entry in found if entry.is_file()]
    return [(entry.name, state.st_size, state.st_mtime_ns) for entry, state in files]
