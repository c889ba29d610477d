"""Several training runs beside each other: what differs, how they score, and if that is chance.

Runs that differ in nothing but their seed are one entry, with the mean and the deviation over the
seeds. Differences between entries are paired by scene.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dpedkit.core.config import read_toml
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.manifest import read_jsonl
from dpedkit.core.methods import NETWORK
from dpedkit.core.publication import STATEMENTS
from dpedkit.core.records import RUN_CONFIG
from dpedkit.core.wording import some
from dpedkit.intervals import Difference, Interval, means_by_scene, over_scenes
from dpedkit.models.files import BEST_NAME, read_card
from dpedkit.report.evaluations import Found, is_current, kept_evaluations

MEASURES = ("psnr", "ms_ssim", "ssim", "colour_error")
_SPLITS = ("test", "val", "train")  # from what says most about new scenes to what says least
_SEED = re.compile(r"[-_ ]?seed[-_ ]?\d+")
# Settings that do not change what is learnt, only how it is computed, kept and reported.
NOT_COMPARED = {
    *("seed", "device", "verify", "loader", "cuda_graph", "log_to"),
    *("keep_checkpoints", "checkpoint_seconds", *STATEMENTS),
}
_ALL_PAIRS_UP_TO = 5  # entries; of more, each is compared with the first

Patches = tuple[str, str]  # hash of the shards, and the split


@dataclass(frozen=True)
class Run:
    """A run: its folder, its settings, its validations, and its evaluations by what they are of."""

    path: Path
    settings: dict[str, Any]
    log: list[dict[str, Any]]
    evaluations: dict[Patches, Found]

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read a run's folder.

        Raises
        ------
        DpedkitError
            If it is not one.
        """
        if not is_run(path):
            raise DpedkitError(
                f"{path} is not the folder of a run; give folders that `dpedkit train` made."
            )
        record = read_toml(path / RUN_CONFIG)
        settings = {
            **record["train"],
            "content": record["content"]["loss"],
            "patches": record["data"]["fingerprint"],
        }
        current = [found for found in kept_evaluations(path) if is_current(path, found)]
        measured = {
            (found["patches"], split["split"]): split
            for found in current
            for split in found["splits"]
            if found["model_file"] == BEST_NAME
        }
        return cls(path, settings, read_jsonl(path / "log.jsonl"), measured)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.name

    @property
    def best_step(self) -> int | None:
        """The step of the network that counts; None before the first validation."""
        if not (self.path / BEST_NAME).is_file():
            return None
        return int(read_card(self.path / BEST_NAME)["training"]["step"])


@dataclass(frozen=True)
class Entry:
    """Runs that differ only in their seed, and what they are called together."""

    name: str
    runs: list[Run]

    def found(self, patches: Patches | None) -> list[Found]:
        """The evaluations of its runs on these patches."""
        if patches is None:
            return []
        return [run.evaluations[patches] for run in self.runs if patches in run.evaluations]

    def score(self, patches: Patches | None, measure: str) -> tuple[float, float | None] | None:
        """Mean over patches, then over the seeds, and its deviation over the seeds.

        None without an evaluation, or if the PSNR is infinite.
        """
        values = [found["scores"][NETWORK].get(measure) for found in self.found(patches)]
        known = [value for value in values if value is not None]
        if not known:
            return None
        return mean(known), stdev(known) if len(known) > 1 else None

    def scenes(self, patches: Patches | None, measure: str) -> dict[str, float]:
        """By scene: the mean over the seeds. Empty where it is not known which scenes there are."""
        return means_by_scene(
            {
                scene["scene"]: scene["scores"][NETWORK].get(measure)
                for scene in (found.get("by_scene") or {}).get("scenes", [])
            }
            for found in self.found(patches)
        )

    def curve(self, key: str) -> list[tuple[float, float, float]]:
        """By step, of all runs that reached it: step, mean and deviation over the seeds."""
        points: dict[int, list[float]] = {}
        for row in itertools.chain(*(run.log for run in self.runs)):
            if row.get(key) is not None:
                points.setdefault(row["step"], []).append(row[key])
        whole = max(map(len, points.values()), default=0)
        return [
            (step, mean(own), stdev(own) if len(own) > 1 else 0.0)
            for step, own in sorted(points.items())
            if len(own) == whole
        ]


@dataclass(frozen=True)
class Comparison:
    """All that is told of several runs.

    Attributes
    ----------
    entries : list of Entry
    patches : (str, str) or None
        What the networks are compared on: hash of the shards, and split. None if no run was
        measured with its present network.
    """

    entries: list[Entry]
    patches: Patches | None

    @classmethod
    def of(cls, folders: Sequence[Path]) -> Comparison:
        """Compare runs.

        Raises
        ------
        DpedkitError
            If there are fewer than two, or one is not a run.
        """
        runs = [Run.read(folder) for folder in dict.fromkeys(folders)]
        if len(runs) < 2:
            raise UsageError(
                f"There is nothing to compare {runs[0].path if runs else 'with'}: give two runs "
                "or more, or a folder that holds them."
            )
        same: dict[str, list[Run]] = {}
        for run in runs:
            kept = {k: v for k, v in run.settings.items() if k not in NOT_COMPARED}
            same.setdefault(repr(sorted(kept.items())), []).append(run)
        entries: list[Entry] = []
        for own in same.values():
            seeds = [run.settings.get("seed") for run in own]
            if len(set(seeds)) < len(seeds):  # the same run twice tells nothing of seeds
                entries += [Entry(run.name, [run]) for run in own]
            else:
                entries.append(Entry(_name_of(own), own))
        counts = Counter(patches for run in runs for patches in run.evaluations)
        ranked = sorted(counts, key=lambda one: (-counts[one], _SPLITS.index(one[1]), one[0]))
        return cls(_with_own_names(entries), ranked[0] if ranked else None)

    @cached_property
    def differing(self) -> list[str]:
        """Names of the settings that are not the same in all entries."""
        settings = [entry.runs[0].settings for entry in self.entries]
        names = dict.fromkeys(name for one in settings for name in one)
        return [
            name
            for name in names
            if name not in NOT_COMPARED and len({repr(one.get(name)) for one in settings}) > 1
        ]

    @property
    def runs(self) -> list[Run]:
        """The runs of all entries."""
        return [run for entry in self.entries for run in entry.runs]

    @property
    def not_measured(self) -> list[Run]:
        """Runs whose present network was not measured on the patches of the comparison."""
        return [run for run in self.runs if self.patches not in run.evaluations]

    def over_scenes(self, entry: Entry, measure: str) -> Interval | None:
        """The mean over the scenes, with its interval."""
        return over_scenes(entry.scenes(self.patches, measure).values())

    @cached_property
    def differences(self) -> list[Difference]:
        """Between all entries that were measured by scene, or of many, each and the first."""
        told = [entry for entry in self.entries if entry.scenes(self.patches, "ms_ssim")]
        pairs = (
            itertools.combinations(told, 2)
            if len(told) <= _ALL_PAIRS_UP_TO
            else ((told[0], entry) for entry in told[1:])
        )
        found = (
            Difference.between(
                second.name, self._by_measure(second), first.name, self._by_measure(first)
            )
            for first, second in pairs
        )
        return [difference for difference in found if difference is not None]

    def _by_measure(self, entry: Entry) -> dict[str, dict[str, float]]:
        return {measure: entry.scenes(self.patches, measure) for measure in MEASURES}

    @property
    def baselines(self) -> dict[str, dict[str, Any]]:
        """What is no network, on the patches of the comparison.

        By method: its "scores" over patches, and "means" over scenes, each an `Interval`.
        """
        measured = [found for entry in self.entries for found in entry.found(self.patches)]
        # An evaluation by an earlier version does not tell scenes apart.
        measured.sort(key=lambda found: not found.get("by_scene"))
        for found in measured:
            means = (found.get("by_scene") or {}).get("means", {})
            return {
                name: {
                    "scores": scores,
                    "means": {k: Interval(**v) for k, v in means.get(name, {}).items()},
                }
                for name, scores in found["scores"].items()
                if name != NETWORK
            }
        return {}

    def described(self) -> str:
        """What was compared, in words."""
        if self.patches is None:
            return "No run was measured: run `dpedkit evaluate RUN SHARDS` for each."
        shards, split = self.patches
        words = f"Compared on the {split} split of the shards {shards}."
        if split != "test":
            words += (
                " The networks were chosen by it."
                if split == "val"
                else " The networks were trained on it, so this says nothing about new scenes."
            )
        if self.not_measured:
            names = some([run.name for run in self.not_measured])
            words += f" Not measured there with their present network: {names}."
        without = [
            entry.name
            for entry in self.entries
            if entry.found(self.patches) and not entry.scenes(self.patches, "ms_ssim")
        ]
        if without:
            words += (
                f" Without scores over scenes: {some(without)} (measured by an earlier version, or "
                "on imported patches)."
            )
        return words


def runs_in(folder: Path) -> list[Path]:
    """The runs in a folder, by name."""
    return sorted(path for path in folder.iterdir() if is_run(path)) if folder.is_dir() else []


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    file = path / RUN_CONFIG
    if not file.is_file():
        return False
    try:
        return {"train", "data", "content"} <= read_toml(file).keys()
    except UsageError:
        return False


def _name_of(runs: list[Run]) -> str:
    if len(runs) == 1:
        return runs[0].name
    names = {_SEED.sub("", run.name) for run in runs}
    name = names.pop() if len(names) == 1 else " ".join(run.name for run in runs)
    return f"{name} ({len(runs)} seeds)"


def _with_own_names(entries: list[Entry]) -> list[Entry]:
    """Entries of which each has another name: runs of the same name get that of their folder."""
    counts = Counter(entry.name for entry in entries)
    return [
        Entry(f"{entry.runs[0].path.parent.name}/{entry.name}", entry.runs)
        if counts[entry.name] > 1
        else entry
        for entry in entries
    ]
