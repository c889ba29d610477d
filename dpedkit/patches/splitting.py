"""How the photo pairs of an aligned folder are divided into splits: by chance, or as people say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from dpedkit.core import console
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.lists import read_list
from dpedkit.core.wording import counted, some
from dpedkit.patches.config import PatchConfig
from dpedkit.shards.format import SPLITS
from dpedkit.shards.splits import assign_splits


@dataclass(frozen=True)
class Splitting:
    """A rule that gives each pair its split, read and checked before any patch is cut.

    Attributes
    ----------
    config : PatchConfig
        In which files are named without their folders: shards are made to be published.
    stated : dict of str to str
        The split of each pair by its name, where people state it; otherwise empty.
    group_of : dict of str to str
        The group of each pair that has one: the pairs of a group are in one split.
    """

    config: PatchConfig
    stated: dict[str, str] = field(default_factory=dict)
    group_of: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: PatchConfig, names: Sequence[str]) -> Self:
        """The rule for the pairs of these names.

        Raises
        ------
        DpedkitError
            If a file is missing or faulty, does not name every pair, or divides a group.
        UsageError
            If no pair would be left to train on, unless that is asked for.
        """
        split_file, group_file = (config.files().get(key) for key in ("split_file", "group_file"))
        stated = dict.fromkeys(names, config.split) if config.split else {}
        group_of = _read_groups(group_file, names) if group_file else {}
        if split_file:
            stated = _read_splits(split_file, names)
            if group_file:
                _refuse_divided(stated, group_of, split_file, group_file)
        if not stated:
            _refuse_too_many_reserved(config, len({group_of.get(name, name) for name in names}))
        public = replace(
            config,
            split_file=split_file.name if split_file else None,
            group_file=group_file.name if group_file else None,
        )
        return cls(public, stated, group_of)

    def inputs(self) -> dict[str, str]:
        """What the files say, as short hashes: shards are resumed only if it is the same."""
        said = {"split file": self.stated, "group file": self.group_of}
        given = {
            "split file": self.config.split_file is not None,
            "group file": self.config.group_file is not None,
        }
        return {name: _hash(content) for name, content in said.items() if given[name]}

    def assign(self, names: Sequence[str]) -> dict[str, str]:
        """The split of each of these pairs."""
        if self.stated:
            return {name: self.stated[name] for name in names}
        key = {name: self.group_of.get(name, name) for name in names}
        splits = assign_splits(
            list(dict.fromkeys(key.values())),
            seed=self.config.seed,
            test_pairs=self.config.test_pairs,
            val_pairs=self.config.val_pairs,
        )
        return {name: splits[key[name]] for name in names}

    def group(self, name: str) -> dict[str, str]:
        """What a line of `pairs.jsonl` says of the pair's group: nothing where it has none."""
        return {"group": self.group_of[name]} if name in self.group_of else {}


def _read_splits(file: Path, names: Sequence[str]) -> dict[str, str]:
    def check(split: str) -> str:
        return "" if split in SPLITS else "is not a split; write train, val or test"

    said = _read(file, "split", check)
    missing = [name for name in names if name not in said]
    if missing:
        raise DpedkitError(
            f"{file} does not name {counted(len(missing), 'photo pair')} ({some(missing)}): give "
            "each pair a line such as NAME,test."
        )
    return {name: said[name] for name in names}  # it may serve several folders


def _read_groups(file: Path, names: Collection[str]) -> dict[str, str]:
    said = _read(file, "group", lambda group: "" if group else "is not the name of a group")
    known = set(names)
    if unknown := [name for name in said if name not in known]:
        console.warn(f"{file} names pairs that do not exist: {some(unknown)}.")
    return {name: group for name, group in said.items() if name in known}


def _read(file: Path, column: str, problem: Callable[[str], str]) -> dict[str, str]:
    """The second column of a list of pairs, by the first; a header is left out.

    `problem` says what is wrong with a value, if anything.
    """
    said: dict[str, str] = {}
    for place, (number, cells) in enumerate(read_list(file)):
        name, value = [*cells, ""][:2]
        if place == 0 and value == column:
            continue
        if fault := problem(value):
            raise DpedkitError(f"{file}, line {number}: '{value}' {fault}.")
        if said.setdefault(name, value) != value:
            raise DpedkitError(
                f"{file}, line {number}: {name} has the {column} '{value}' here, but "
                f"'{said[name]}' further up."
            )
    return said


def _refuse_divided(
    stated: Mapping[str, str], group_of: Mapping[str, str], split_file: Path, group_file: Path
) -> None:
    """Raise DpedkitError if two pairs of a group are in different splits."""
    first: dict[str, str] = {}
    for name, group in group_of.items():
        other = first.setdefault(group, name)
        if stated[other] != stated[name]:
            raise DpedkitError(
                f"{split_file} puts {other} into {stated[other]} and {name} into {stated[name]}, "
                f"but by {group_file} both are in the group '{group}', which must be in one split."
            )


def _refuse_too_many_reserved(config: PatchConfig, count: int) -> None:
    reserved = (config.test_pairs or 0) + (config.val_pairs or 0)
    if reserved >= count:
        what = "groups" if config.group_file else "photo pairs"
        raise UsageError(
            f"--test-pairs and --val-pairs reserve {reserved} of {count} {what}, so none is left "
            "for training; reserve fewer, or give --split test for a folder that is only for "
            "testing."
        )


def _hash(content: Mapping[str, str]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
