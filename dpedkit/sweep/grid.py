"""The grid of a sweep: every combination of the values that settings are given."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpedkit.core.errors import UsageError
from dpedkit.recipe import Step, read_recipe

_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Variant:
    """One combination.

    Attributes
    ----------
    label : str
        Its values in words: "content_weight=4, batch=16"; "as in the recipe" where none is given.
    step : Step
        The training of the recipe with these values.
    """

    label: str
    step: Step

    @property
    def file_name(self) -> str:
        """The label as the beginning of a file's name."""
        parts = [_NOT_IN_NAMES.sub("_", part) for part in re.split(r"[=,] ?", self.label)]
        return "-".join(parts)


def variants_of(recipe: str, folder: Path | None, changes: Sequence[str]) -> list[Variant]:
    """The combinations of all values, in the order in which they are given.

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
    """
    axes = [_values(change) for change in changes]
    keys = [key for key, _ in axes]
    if repeated := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(f"--set {repeated} is given twice; list its values, with commas.")
    variants = []
    for chosen in itertools.product(*(values for _, values in axes)):
        settings = [f"{key}={value}" for key, value in zip(keys, chosen, strict=True)]
        read = read_recipe(recipe, folder, settings)
        steps = {step.name: step for step in read.steps}
        if "train" not in steps:
            raise UsageError(f"{read.file} has no [train] table, so there is nothing to sweep.")
        label = ", ".join(setting.removeprefix("train.") for setting in settings)
        variants.append(Variant(label or "as in the recipe", steps["train"]))
    return variants


def _values(change: str) -> tuple[str, list[str]]:
    """A setting and its values, as they are written."""
    key, _, values = change.partition("=")
    key = key.strip()
    if not key.startswith("train."):
        raise UsageError(
            f"--set {change}: a sweep varies the settings of [train] only, as in "
            "--set train.content_weight=1,4."
        )
    if key in ("train.seed", "train.output"):
        raise UsageError(f"--set {change}: a sweep sets {key} itself; --seeds says how many seeds.")
    return key, [value.strip() for value in values.split(",")]
