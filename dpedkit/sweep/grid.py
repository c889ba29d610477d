"""The grid of a sweep: every combination of the values that settings are given."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpedkit.core.errors import UsageError
from dpedkit.core.methods import NETWORK
from dpedkit.recipe import Step, read_recipe
from dpedkit.training.config import TrainConfig

_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")
_UNCHANGED = "as in the recipe"
_LONGEST_NAME = 120  # characters; file systems allow 255, and a seed, a fold and a suffix follow


@dataclass(frozen=True)
class Variant:
    """One combination.

    Attributes
    ----------
    label : str
        The values in which it differs from the others, in words: "content_weight=4, batch=16";
        "network" where there are no others.
    file_name : str
        All its values, as the beginning of a file's name: of a path, its last part if that is
        enough to tell it from the others.
    step : Step
        The training of the recipe with these values.
    """

    label: str
    file_name: str
    step: Step


@dataclass(frozen=True)
class Grid:
    """All combinations, in the order in which their values are given.

    Attributes
    ----------
    variants : list of Variant
    alike : str
        What `--set` changes in all of them, in words.
    """

    variants: list[Variant]
    alike: str


def read_grid(recipe: str, folder: Path | None, changes: Sequence[str]) -> Grid:
    """The combinations of all values.

    A network to start from brings its generator and norm with it, unless they are given as well.

    Parameters
    ----------
    recipe, folder
        As for `read_recipe`.
    changes : sequence of str
        Each `train.KEY=VALUE,VALUE,...`.

    Raises
    ------
    UsageError
        If the recipe or a value is faulty, or the recipe trains nothing.
    DpedkitError
        If a network to start from cannot be read.
    """
    axes = [_values(change) for change in changes]
    keys = [key for key, _ in axes]
    if repeated := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(f"--set {repeated} is given twice; list its values, with commas.")
    varied = {key for key, values in axes if len(values) > 1}
    names = {key: _short_names(values) for key, values in axes}
    variants = []
    for values in itertools.product(*(values for _, values in axes)):
        chosen = dict(zip(keys, values, strict=True))
        label = ", ".join(_words(key, chosen[key]) for key in keys if key in varied) or NETWORK
        settings = [_words(key, names[key][value]) for key, value in chosen.items()]
        name = _file_name(settings or [_UNCHANGED])
        variants.append(Variant(label, name, _step(recipe, folder, chosen)))
    alike = [_words(key, values[0]) for key, values in axes if key not in varied]
    return Grid(variants, ", ".join(alike))


def _words(key: str, value: str) -> str:
    return f"{key.removeprefix('train.')}={value}"


def _short_names(values: Sequence[str]) -> dict[str, str]:
    """By value: the last part of a path, unless two of the values would have the same name."""
    last = {value: Path(value).name or value for value in values}
    return last if len(set(last.values())) == len(last) else dict(zip(values, values, strict=True))


def _values(change: str) -> tuple[str, list[str]]:
    """A setting and its values, as they are written."""
    key, _, values = change.partition("=")
    stage, _, name = key.strip().partition(".")
    key = f"{stage}.{name.replace('-', '_')}"
    if stage != "train":
        raise UsageError(
            f"--set {change}: a sweep varies the settings of [train] only, as in "
            "--set train.content_weight=1,4."
        )
    if key in ("train.seed", "train.output"):
        raise UsageError(f"--set {change}: a sweep sets {key} itself; --seeds says how many seeds.")
    return key, list(dict.fromkeys(value.strip() for value in values.split(",")))


def _step(recipe: str, folder: Path | None, chosen: dict[str, str]) -> Step:
    """The training of the recipe with these values."""
    read = read_recipe(recipe, folder, [f"{key}={value}" for key, value in chosen.items()])
    step = next((step for step in read.steps if step.name == "train"), None)
    if step is None:
        raise UsageError(f"{read.file} has no [train] table, so there is nothing to sweep.")
    if "train.init" in chosen:
        given = {key.removeprefix("train.") for key in chosen}
        step = replace(step, config=_like_its_start(step.config, given))
    return step


def _like_its_start(config: TrainConfig, given: set[str]) -> TrainConfig:
    """The settings with the generator, norm and size of the network to start from, if not given."""
    from dpedkit.models.files import load_model

    assert config.init is not None
    start = load_model(config.init)
    own: dict[str, Any] = {
        "generator": start.architecture,
        "norm": start.options.get("norm", config.norm),
        "blocks": None,  # the size is taken from the network
        "channels": None,
    }
    return replace(config, **{key: own[key] for key in own.keys() - given})


def _file_name(settings: Sequence[str]) -> str:
    parts = [_NOT_IN_NAMES.sub("_", part) for one in settings for part in one.split("=", 1)]
    name = "-".join(parts)
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - len(digest) - 1]}-{digest}"
