"""An output folder that belongs to one stage: started, resumed, refused or overwritten.

Every stage that writes a folder describes it in one JSON file there (`aligned/dataset.json`,
`shards/index.json`): format version, tool version, configuration, inputs, and whether the work is
complete. A run with the same settings continues it; a run with other settings or of another
version of dpedkit is refused, and so is any while another one works in the folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit._version import __version__
from dpedkit.core import lock
from dpedkit.core.atomic import (
    PART_SUFFIX,
    remove_unfinished,
    remove_unfinished_below,
    write_json,
)
from dpedkit.core.config import Config
from dpedkit.core.errors import DpedkitError, OutputExistsError
from dpedkit.core.manifest import read_json


@dataclass(frozen=True)
class WorkFolder:
    """A stage's output folder, ready to be worked in.

    Attributes
    ----------
    path : Path
    description_file : Path
        The JSON file that describes the folder.
    resumed : bool
        Whether an earlier run with the same settings started it.
    complete : bool
        Whether that earlier run finished it.
    """

    path: Path
    description_file: Path
    description: dict[str, Any]
    resumed: bool
    complete: bool

    def reopen(self, *, adding: bool) -> None:
        """Record that the work is not complete, before what is there is changed.

        Parameters
        ----------
        adding : bool
            Whether anything will be made that was not there.

        Raises
        ------
        OutputExistsError
            If something is added to what another version of dpedkit made.
        """
        if adding:
            refuse_other_version(self.path, self.description.get("tool_version"))
        write_json(self.description_file, {**self.description, "complete": False})

    def finish(self, **results: Any) -> None:
        """Record the results, and that the work is complete; what is so already is left alone."""
        finished = {**self.description, **results, "complete": True}
        if read_json(self.description_file) != finished:
            # A worker outlives its killed run for a second, in which it can leave another one.
            remove_unfinished_below(self.path)
            write_json(self.description_file, finished)


def prepare(
    path: Path,
    *,
    kind: str,
    description_name: str,
    format_version: int,
    config: Config,
    inputs: Mapping[str, str],
    overwrite: bool,
    kept: Sequence[str] = (),
    finished_formats: Sequence[int] = (),
) -> WorkFolder:
    """Create, resume or replace a stage's output folder, and lock it (see `lock.take`).

    Parameters
    ----------
    path : Path
        The folder.
    kind : str
        What it holds, for example "aligned"; checked before anything is resumed or removed.
    description_name : str
        Name of the JSON file that describes it.
    format_version : int
        Version of the layout.
    config : Config
        Settings; those with `affects_output` must be the same to resume.
    inputs : mapping of str to str
        What the work is made from; must be the same to resume.
    overwrite : bool
        Remove the output of an earlier run of the same kind. Folders of another kind are never
        touched.
    kept : sequence of str
        Names of files to keep even then, such as a person's decisions.
    finished_formats : sequence of int
        Earlier versions of the layout in which finished work is as good as new.

    Raises
    ------
    DpedkitError
        If the folder holds something else.
    OutputExistsError
        If it was made with other settings, or is not complete and was started by another version of
        dpedkit, and `overwrite` is False.
    FolderInUseError
        If another run works in it.
    """
    description_file = path / description_name
    fresh = {
        "format": format_version,
        "kind": kind,
        "tool_version": __version__,
        "config": config.to_dict(),
        "inputs": dict(inputs),
        "complete": False,
    }
    _refuse_of_others(path, description_file, kind)
    lock.take(path)
    _refuse_of_others(path, description_file, kind)  # nobody changes the folder from here on
    if not description_file.exists():
        remove_unfinished([description_file])
        write_json(description_file, fresh)
        return WorkFolder(path, description_file, fresh, resumed=False, complete=False)

    found = read_json(description_file)
    if overwrite or found.get("clearing"):
        # A run that is killed while it removes must not leave a folder that passes for complete.
        write_json(description_file, {**fresh, "clearing": True})
        clear(path, description_name, *kept)
        write_json(description_file, fresh)
        return WorkFolder(path, description_file, fresh, resumed=False, complete=False)

    if found.get("complete") and found.get("format") in finished_formats:
        fresh["format"] = found["format"]
    changes = _differences(found, fresh, config)
    if changes:
        raise OutputExistsError(
            f"{path} was made with other settings ({'; '.join(changes)}). Use --overwrite to "
            "replace it, or -o to write elsewhere."
        )
    complete = bool(found.get("complete"))
    if not complete:
        refuse_other_version(path, found.get("tool_version"))
    remove_unfinished_below(path)
    return WorkFolder(path, description_file, found, resumed=True, complete=complete)


def refuse_other_version(path: Path, begun_by: str | None) -> None:
    """Raise OutputExistsError if the work was started by another version of dpedkit.

    The two may work differently, and one folder must not hold the results of both.
    """
    if begun_by not in (None, __version__):
        raise OutputExistsError(
            f"{path} was started by dpedkit {begun_by}, but this is dpedkit {__version__}, whose "
            f"results may differ. Finish it with `pip install dpedkit=={begun_by}`, use "
            "--overwrite to start over, or use another folder."
        )


def entries(path: Path) -> list[Path]:
    """What is in a folder besides its lock, by name; nothing, where there is no folder."""
    found = sorted(path.iterdir()) if path.is_dir() else []
    return [entry for entry in found if entry.name != lock.LOCK_NAME]


def clear(path: Path, *kept: str) -> None:
    """Remove all that is in a folder of dpedkit's own, but for the files named and the lock."""
    for entry in entries(path):
        if entry.name not in kept:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _refuse_of_others(path: Path, description_file: Path, kind: str) -> None:
    """Raise DpedkitError if the folder was not made by this kind of stage."""
    if path.exists() and not path.is_dir():
        raise DpedkitError(f"{path} is a file, but the output needs a folder of that name.")
    if description_file.exists():
        found = read_json(description_file).get("kind")
        if found != kind:
            raise DpedkitError(
                f"{path} holds '{found}' data, not '{kind}'; choose another output folder with -o."
            )
        return
    leftovers = [entry for entry in entries(path) if entry.suffix != PART_SUFFIX]
    if leftovers:
        raise DpedkitError(
            f"{path} is not empty and was not made by this command (it holds "
            f"{leftovers[0].name}); choose another output folder with -o."
        )


def _are_one(before: Any, now: Any) -> bool:
    """Whether two inputs are the same: equal, or paths to one folder however they are spelt."""
    if before == now:
        return True
    paths = [Path(value) for value in (before, now) if isinstance(value, str)]
    return len(paths) == 2 and all(
        path.is_absolute() and path.resolve() == paths[1].resolve() for path in paths
    )


def _differences(found: dict[str, Any], fresh: dict[str, Any], config: Config) -> list[str]:
    changes = []
    if found.get("format") != fresh["format"]:
        changes.append(f"format version: was {found.get('format')}, now {fresh['format']}")
    before = found.get("inputs", {})
    now = fresh["inputs"]
    for name in sorted(before.keys() | now.keys()):
        if not _are_one(before.get(name), now.get(name)):
            changes.append(f"{name}: was {before.get(name)}, now {now.get(name)}")
    return changes + config.differences(found.get("config", {}))
