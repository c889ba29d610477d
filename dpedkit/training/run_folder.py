"""The folder of one training run: its name, its recorded settings, and its files.

runs/<name>/config.toml        settings, data, content loss, files used, tool version
            log.jsonl          one line for each validation
            checkpoints/       the state of the run, to resume from
            model.safetensors  the best network so far
            last.safetensors   the newest
            samples/           before and after, one picture for each validation
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from dpedkit._version import __version__
from dpedkit.core import console, lock
from dpedkit.core.atomic import (
    PART_SUFFIX,
    complete_or_absent,
    make_folder,
    remove_unfinished_below,
    write_json,
    write_text,
)
from dpedkit.core.config import read_toml
from dpedkit.core.errors import DpedkitError, FolderInUseError, OutputExistsError, UsageError
from dpedkit.core.evaluations import EVALUATIONS
from dpedkit.core.manifest import read_json, read_jsonl, write_jsonl
from dpedkit.core.publication import statements_of
from dpedkit.core.records import RUN_CONFIG
from dpedkit.core.wording import counted
from dpedkit.core.workfolder import clear, entries, refuse_other_version
from dpedkit.models.files import BEST_NAME, LAST_NAME, PUBLICATION, find_model, model_hash, restate
from dpedkit.shards.index import fingerprint
from dpedkit.training.checkpoint import newest_step
from dpedkit.training.config import TrainConfig
from dpedkit.training.content import ContentChoice, choose_content
from dpedkit.training.trackers import require_tracker

LOG_NAME = "log.jsonl"
_RESTARTS = "restarts"
_RECORD = {"tool_version", "train", "data", "content"}  # what every record has


@dataclass(frozen=True)
class RunFolder:
    """Where the parts of a run are."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / RUN_CONFIG

    @property
    def log_file(self) -> Path:
        return self.path / LOG_NAME

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best_aside(self) -> Path:
        """The best network of the run's validations, while a stopped run shows a better one."""
        return self.checkpoints / BEST_NAME

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def sample(self, step: int) -> Path:
        """The picture of the validation after a step."""
        return self.samples / f"step-{step:06d}.png"

    @property
    def best_model(self) -> Path:
        return self.path / BEST_NAME

    @property
    def last_model(self) -> Path:
        return self.path / LAST_NAME

    def is_there(self) -> bool:
        """Whether the folder holds a run: other programs have files of that name, too."""
        try:
            return read_toml(self.config_file).keys() >= _RECORD
        except UsageError:
            return False

    def begin(
        self, config: TrainConfig, shards: Path, content: ContentChoice, processes: int
    ) -> None:
        """Make the folders and write the record of a new run."""
        for folder in (self.path, self.checkpoints, self.samples):
            make_folder(folder)
        remove_unfinished_below(self.path)
        settings = {key: value for key, value in config.to_dict().items() if value is not None}
        record = {
            "tool_version": __version__,
            "processes": processes,
            "train": settings,
            "data": {"shards": str(shards.absolute()), "fingerprint": fingerprint(shards)},
            "content": content.to_dict(),
            "files": _hashes(config, content),
        }
        # The record comes last: a folder with a record is a run.
        write_text(self.log_file, "")
        write_text(self.config_file, tomli_w.dumps(record))

    def check_same(
        self, config: TrainConfig, shards: Path, *, extend: bool = False
    ) -> ContentChoice:
        """Refuse to continue a run with other settings or data; returns its content loss.

        With `extend`, more steps than before are allowed, and become those of the run.

        Raises
        ------
        DpedkitError
            Naming what differs.
        """
        record = read_toml(self.config_file)
        before = record.get("train", {})
        extended = extend and config.steps > before.get("steps", config.steps)
        changes = config.differences(before | {"steps": config.steps} if extended else before)
        if record.get("data", {}).get("fingerprint") != fingerprint(shards):
            changes.append(f"the patches in {shards} have changed")
        content = ContentChoice(**record["content"])
        refuse_other_version(self.path, record.get("tool_version"))
        if not changes:
            now, known = _hashes(config, content), record.get("files", {})
            changes += [
                f"the content of {name} has changed" for name in now if now[name] != known.get(name)
            ]
        if changes:
            raise OutputExistsError(
                f"{self.path} was started with other settings ({'; '.join(changes)}). Give the "
                "same ones (or the same --recipe) to --resume it, or start another run."
            )
        if extended:
            self._extend(record, config)
        self.state(statements_of(config.notes()))
        return content

    def statements(self) -> dict[str, str]:
        """What was stated of the network: licence, authors, citation, DOI."""
        if not self.config_file.is_file():
            return {}
        return statements_of(read_toml(self.config_file).get("train", {}))

    def state(self, statements: Mapping[str, str]) -> None:
        """Add statements to the record and to the networks of the run, where they are new."""
        now = {**self.statements(), **statements}
        if now == self.statements():
            return
        record = read_toml(self.config_file)
        record["train"].update(now)
        write_text(self.config_file, tomli_w.dumps(record))
        self.restate({PUBLICATION: now})

    def restate(self, entries: Mapping[str, Any]) -> None:
        """Write other entries into the cards of the run's networks.

        Evaluations of them stay valid, since the weights are the same.
        """
        for model in (self.best_model, self.last_model, self.best_aside, self.best_before_end):
            if model.is_file():
                before = model_hash(model)
                restate(model, entries)
                self._follow(model, before)

    def _follow(self, model: Path, before: str) -> None:
        """Let the evaluations of a network, which name it by its hash, name its new one."""
        for file in sorted((self.path / EVALUATIONS).glob("*.json")):
            found = read_json(file)
            if (found.get("model_file"), found.get("model_hash")) == (model.name, before):
                write_json(file, {**found, "model_hash": model_hash(model)})

    def _extend(self, record: dict[str, Any], config: TrainConfig) -> None:
        """Let a run have more steps.

        Raises
        ------
        UsageError
            If it follows a schedule that has not come to its end.
        """
        before = int(record["train"]["steps"])
        if config.schedule == "cosine":
            if newest_step(self.checkpoints) < before:
                raise UsageError(
                    f"{self.path} is not finished, and its learning rate follows a cosine of "
                    f"{counted(before, 'step')}. Finish it first, with --steps {before}."
                )
            record[_RESTARTS] = [*self.restarts(), before]
            console.say(
                f"{self.path}: extended from {before:,} to {config.steps:,} steps. The learning "
                "rate follows a new half cosine from there on, so the result is not that of one "
                f"run of {config.steps:,} steps."
            )
        else:
            console.say(f"{self.path}: extended from {before:,} to {config.steps:,} steps")
        record["train"]["steps"] = config.steps
        write_text(self.config_file, tomli_w.dumps(record))

    def restarts(self) -> list[int]:
        """The steps at which a schedule had come to its end when the run was extended."""
        return [int(step) for step in read_toml(self.config_file).get(_RESTARTS, [])]

    def processes(self) -> int:
        """The number of processes that the run was started with."""
        return int(read_toml(self.config_file).get("processes", 1))

    @property
    def best_before_end(self) -> Path:
        """The best network before the validation at the end, where that was out of turn."""
        return self.checkpoints / f"before-end-{BEST_NAME}"

    def set_best_aside(self) -> None:
        """Keep the best network for resuming, so that another may take its place until then."""
        with complete_or_absent(self.best_aside) as part:
            shutil.copyfile(self.best_model, part)

    def keep_best_before_end(self) -> None:
        """Keep the best network for an extension of the run."""
        with complete_or_absent(self.best_before_end) as part:
            shutil.copyfile(self.best_model, part)

    def undo_validation_at_end(self, step: int) -> None:
        """Take back the best network before that validation, and drop its picture."""
        if self.best_before_end.is_file():
            with complete_or_absent(self.best_model) as part:
                shutil.copyfile(self.best_before_end, part)
        self.sample(step).unlink(missing_ok=True)

    def take_best_back(self) -> None:
        """Undo `set_best_aside`."""
        if self.best_aside.is_file():
            self.best_aside.replace(self.best_model)

    def cut_log(self, step: int) -> None:
        """Drop log lines of later steps than the checkpoint that the run continues from."""
        kept = [row for row in read_jsonl(self.log_file) if row["step"] <= step]
        write_jsonl(self.log_file, kept)


def find_run(
    shards: Path,
    config: TrainConfig,
    processes: int,
    *,
    name: str | None,
    runs: Path,
    resume: bool,
    extend: bool,
    overwrite: bool,
) -> tuple[RunFolder, ContentChoice]:
    """The folder for a new run or for one to continue, and the run's content loss.

    Raises
    ------
    DpedkitError
        As `dpedkit.training.loop.train`.
    """
    require_tracker(config.log_to)
    run = existing_run(runs, name) if resume else None
    if run is None:
        run = new_run(runs, name, overwrite)
        if resume:
            console.say(f"Starting new run {run.path}")
        return run, choose_content(config)
    content = run.check_same(config, shards, extend=extend)
    if (before := run.processes()) != processes:
        console.warn(
            f"{run.path} was started with {counted(before, 'process', 'processes')} and continues "
            f"with {processes}: the result will not be identical to that of an uninterrupted run."
        )
    remove_unfinished_below(run.path)
    return run, content


def new_run(runs: Path, name: str | None, overwrite: bool) -> RunFolder:
    """A folder for a new run, empty and locked (see `dpedkit.core.lock.take`).

    Parameters
    ----------
    runs : Path
        The folder of all runs.
    name : str or None
        None takes the next free number: 001, 002, ...
    overwrite : bool
        Remove an earlier run of that name.

    Raises
    ------
    UsageError
        If the name is not that of a folder.
    DpedkitError
        If there is a run of that name, or something that is not a run.
    FolderInUseError
        If the run of that name is in progress.
    """
    if name is None:
        return _next_run(runs)
    if name in ("", "..") or Path(name).name != name:
        raise UsageError(f"The run's name is {name!r}, but must be a plain folder name.")
    run = RunFolder(runs / name)
    if _holds_something(run.path) and not run.is_there():
        raise DpedkitError(
            f"{run.path} holds something that is not a training run; use another name."
        )
    lock.take(run.path)
    if not _holds_something(run.path):
        return run
    if not overwrite:
        raise OutputExistsError(
            f"{run.path} already holds a run: --resume continues it; another --name starts a "
            "new one."
        )
    # The record goes last: a run that is killed while it removes leaves what it may remove.
    clear(run.path, RUN_CONFIG)
    run.config_file.unlink()
    return run


def _next_run(runs: Path) -> RunFolder:
    """The run with the next free number; runs that start at the same time get different ones."""
    while True:
        taken = [int(path.name) for path in entries(runs) if path.name.isdigit()]
        run = RunFolder(runs / f"{max(taken, default=0) + 1:03d}")
        with suppress(FolderInUseError):
            lock.take(run.path)
            if not _holds_something(run.path):
                return run


def existing_run(runs: Path, name: str | None) -> RunFolder | None:
    """The run to continue, locked: the named one, or the one that was started last.

    Returns None if the named one is not there.

    Raises
    ------
    DpedkitError
        If no name is given and there is no run at all.
    FolderInUseError
        If the run is in progress.
    """
    if name is not None:
        run = RunFolder(runs / name)
        if not run.is_there():
            return None
    else:
        begun = [run for run in map(RunFolder, entries(runs)) if run.is_there()]
        if not begun:
            raise DpedkitError(f"There is no run in {runs} to resume; start one without --resume.")
        run = max(begun, key=lambda run: (run.config_file.stat().st_mtime_ns, run.path.name))
    lock.take(run.path)
    return run


def _hashes(config: TrainConfig, content: ContentChoice) -> dict[str, str]:
    """SHA-256 of the files that decide the result besides the patches, by their setting."""
    files = {}
    if content.weights:
        files["vgg"] = Path(content.weights)
        if not files["vgg"].is_file():
            raise DpedkitError(f"{content.weights}: the run's VGG-19 weights are no longer there.")
    if config.init is not None:
        files["init"] = find_model(Path(config.init))
    return {setting: model_hash(file) for setting, file in files.items()}


def _holds_something(path: Path) -> bool:
    """Whether the folder holds more than a run that was killed before its record was written."""
    return path.is_file() or not all(map(_is_a_beginning, entries(path)))


def _is_a_beginning(entry: Path) -> bool:
    if entry.is_dir():
        return entry.name in ("checkpoints", "samples") and not any(entry.iterdir())
    if entry.suffix == PART_SUFFIX:
        return entry.name.startswith((f"{RUN_CONFIG}.", f"{LOG_NAME}."))
    return entry.name == LOG_NAME and entry.stat().st_size == 0
