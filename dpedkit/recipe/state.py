"""What earlier runs of a recipe left in its folder, and what that means for the next run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from dpedkit.core.manifest import read_json
from dpedkit.core.wording import counted
from dpedkit.recipe.kinds import Step

STATE_FILE = "recipe-state.json"
_SHOWN = 4  # changed settings that a reason lists


def read_state(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of each stage, by its name; nothing before the first run.

    Raises
    ------
    DpedkitError
        If the file is damaged.
    """
    path = folder / STATE_FILE
    found = read_json(path) if path.exists() else {}
    return {name: known for name, known in found.items() if isinstance(known, dict)}


def reason(step: Step, known: dict[str, Any]) -> str | None:
    """Why a stage has to run, in a few words; None if it is finished and nothing has changed."""
    if not known:
        return "it never ran here"
    if known.get("key") != step.key():
        return "; ".join(_changes(step, known.get("made_from")))
    if not known.get("done"):
        return "it was stopped before it finished"
    if not step.output.exists():
        return f"{step.output} is missing"
    # Later stages add files, such as evaluations to a run; if in doubt, the stage itself looks.
    found = records_of(step)
    recorded = _part(known, "records")
    changed = [name for name, hashed in recorded.items() if found.get(name) != hashed]
    if changed:
        return f"{', '.join(changed)} in {step.output} changed"
    return None


def records_of(step: Step) -> dict[str, str]:
    """SHA-256 of what a finished stage's folder says about itself: its JSON files."""
    if not step.output.is_dir():
        return {}
    files = sorted(path for path in step.output.glob("*.json*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _changes(step: Step, before: Any) -> list[str]:
    """What is different from the last run, as phrases; at least one."""
    if not isinstance(before, dict):  # recorded by a version that kept only the hash
        return ["its settings or input files changed"]
    now = step.made_from()
    settings, paths, files = (_part(before, name) for name in ("settings", "paths", "files"))
    changes = step.config.differences(settings)
    changes += _different({name: settings.get(name) for name in now["notes"]}, now["notes"])
    changes += _different({name: paths.get(name) for name in now["paths"]}, now["paths"])
    if len(changes) > _SHOWN:
        changes[_SHOWN:] = [counted(len(changes) - _SHOWN, "other setting")]
    for name, listed in now["files"].items():
        earlier = _part(files, name)
        if earlier.get("hash") != listed["hash"]:
            changes.append(_changed_files(step, name, earlier.get("count", 0), listed["count"]))
    return changes or ["its settings changed"]


def _different(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        f"{name}: was {before[name]!r}, now {value!r}"
        for name, value in now.items()
        if before[name] != value
    ]


def _changed_files(step: Step, name: str, before: int, now: int) -> str:
    place = {**step.config.files(), **step.inputs}[name]
    if before == now:
        return f"the files of {place} changed" if place.is_dir() else f"{place} changed"
    return f"the files of {place} changed: there were {before}, now {now}"


def _part(content: dict[str, Any], name: str) -> dict[str, Any]:
    """An object within an object of the file; an edited file may lack it."""
    part = content.get(name)
    return part if isinstance(part, dict) else {}
