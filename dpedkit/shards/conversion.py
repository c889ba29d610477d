"""New shards folders from old ones: filtered by NCC, merged, or divided into folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import lock
from dpedkit.core.config import Config
from dpedkit.core.console import say
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.core.publication import common_statements
from dpedkit.core.workfolder import WorkFolder, prepare
from dpedkit.shards.card import write_card
from dpedkit.shards.checksums import check_shards
from dpedkit.shards.config import FilterConfig, FoldConfig, MergeConfig
from dpedkit.shards.description import Description, describe
from dpedkit.shards.finished import remove_work
from dpedkit.shards.finishing import finish_shards
from dpedkit.shards.format import READABLE_SHARDS, SHARD_FORMAT, SPLITS, Columns
from dpedkit.shards.index import INDEX_FILE, KIND, ShardIndex
from dpedkit.shards.layout import ShardLayout
from dpedkit.shards.pairlines import read_complete_pairs, refuse_unknown_pairs
from dpedkit.shards.provenance import dslr_id, without_paths
from dpedkit.shards.reader import checked_layout
from dpedkit.shards.writer import Source, write_split

_LOW_NCC = "low NCC"  # as `patches` calls this reason
_FOLDED = ("train", "val")  # the splits that a cross-validation divides anew
_KEPT_FOR_TEST = "kept for the test"


@lock.until_end()
def filter_shards(
    folder: str | Path,
    output: str | Path,
    config: FilterConfig | None = None,
    *,
    overwrite: bool = False,
) -> Description:
    """Copy the patch pairs with a high NCC into a new folder; splits stay as they are.

    Raises
    ------
    UsageError
        If the limit is below the one that the patches were cut with: patches dropped then are not
        available.
    DpedkitError
        If `folder` is damaged, no training patch is left, or `output` is something else.
    """
    folder, output, config = Path(folder), Path(output), config or FilterConfig()
    _refuse_in_place(output, [folder])
    index = check_shards(folder, verify=config.verify)
    recorded = index.content["patch_config"]["min_corr"]
    if config.min_corr < recorded:
        raise UsageError(
            f"{folder} was cut with --min-corr {recorded}, so it holds no patches below that; use "
            f"`dpedkit patches --min-corr {config.min_corr}`."
        )
    pairs = read_complete_pairs(index)
    parts = [
        _Part(index, split, layout, thumbnails=config.thumbnails)
        for split, layout in _layouts(index, len(pairs))
    ]
    masks = [part.layout.map("ncc") > config.min_corr for part in parts]
    kept = np.zeros(len(pairs), np.int64)
    for part, mask in zip(parts, masks, strict=True):
        np.add.at(kept, part.layout.map("pair")[mask], 1)
    if not any(
        mask.any() for part, mask in zip(parts, masks, strict=True) if part.split == "train"
    ):
        raise DpedkitError(
            f"{folder}: no patch to train on has an NCC above {config.min_corr}; lower --min-corr."
        )
    work = _prepare(output, config, {"shards": index.fingerprint()}, overwrite)
    if work.complete:
        return describe(output)
    for part, mask in zip(parts, masks, strict=True):
        part.rows = np.flatnonzero(mask)
    new_pairs = [
        _with_kept(pair, int(count), thumbnail=config.thumbnails)
        for pair, count in zip(pairs, kept, strict=True)
    ]
    content = index.content
    return _finish(
        work,
        parts,
        new_pairs,
        patch_config={
            **content["patch_config"],
            "min_corr": config.min_corr,
            "thumbnails": config.thumbnails and _cut_with_thumbnails(index),
            "compress": config.compress,
        },
        align_config=without_paths(content.get("align_config", {})),
    )


@lock.until_end()
def merge_shards(
    folders: Sequence[str | Path],
    output: str | Path,
    config: MergeConfig | None = None,
    *,
    overwrite: bool = False,
) -> Description:
    """Put the patch pairs of several folders into one; each stays in its split.

    Raises
    ------
    DpedkitError
        If a folder is damaged, patch sizes differ, or one DSLR photo is in different splits of
        two folders, so that a network would be tested on what it was trained on.
    """
    places, output, config = list(map(Path, folders)), Path(output), config or MergeConfig()
    _refuse_in_place(output, places)
    _refuse_twice(places)
    indices = [check_shards(folder, verify=config.verify) for folder in places]
    for setting in ("size", "correlate"):
        _refuse_difference(indices, setting)
    pairs_of = [read_complete_pairs(index) for index in indices]
    pairs = [pair for own in pairs_of for pair in own]
    _refuse_leaks(pairs)
    layouts = [_layouts(index, len(own)) for index, own in zip(indices, pairs_of, strict=True)]
    hashes = {f"shards {n}": index.fingerprint() for n, index in enumerate(indices, start=1)}
    work = _prepare(output, config, hashes, overwrite)
    if work.complete:
        return describe(output)
    parts, first_pair = [], 0
    for index, own, shards in zip(indices, pairs_of, layouts, strict=True):
        parts += [_Part(index, split, layout, first_pair) for split, layout in shards]
        first_pair += len(own)
    first = indices[0].content
    lowest = min(index.content["patch_config"]["min_corr"] for index in indices)
    return _finish(
        work,
        parts,
        pairs,
        patch_config={
            **first["patch_config"],
            "min_corr": lowest,
            "thumbnails": any(map(_cut_with_thumbnails, indices)),
            "compress": config.compress,
            **common_statements(index.content["patch_config"] for index in indices),
        },
        align_config=without_paths(first.get("align_config", {})),
    )


@lock.until_end()
def fold_shards(folder: str | Path, output: str | Path, config: FoldConfig) -> Description:
    """Divide the scenes of the train and val splits anew, for one fold of a cross-validation.

    Scene k, in the order of the photo pairs, is in fold k modulo `folds`: that fold becomes the
    test split, and the others the train split. Pairs of one DSLR photo or of one group are one
    scene. The test split of `folder` is left out.

    Raises
    ------
    DpedkitError
        If `folder` is damaged or has fewer scenes than folds.
    """
    folder, output = Path(folder), Path(output)
    index = check_shards(folder, _FOLDED)
    pairs = read_complete_pairs(index)
    used = [pair for pair in pairs if pair.get("split") in _FOLDED]
    scenes = list(dict.fromkeys(map(_scene, used)))
    if not used:
        raise DpedkitError(
            f"{folder} has no patches to cross-validate with: all are in the test split, which is "
            "left out. If they are imported, put them all into the train split with `dpedkit "
            "import-patches --split train`."
        )
    if len(scenes) < config.folds:
        raise DpedkitError(
            f"{folder} has {len(scenes)} scenes to train on and to validate with, too few for "
            f"{config.folds} folds."
        )
    fold_of = {scene: number % config.folds + 1 for number, scene in enumerate(scenes)}
    new_pairs = [_with_split(pair, fold_of.get(_scene(pair)), config.fold) for pair in pairs]
    work = _prepare(output, config, {"shards": index.fingerprint()}, overwrite=False)
    if work.complete:
        return describe(output)
    parts = []
    for _, layout in _layouts(index, len(pairs), _FOLDED):
        numbers = layout.map("pair")
        for new in ("train", "test"):
            chosen = [number for number, pair in enumerate(new_pairs) if pair["split"] == new]
            rows = np.flatnonzero(np.isin(numbers, chosen))
            parts.append(_Part(index, new, layout, rows=rows))
    return _finish(
        work,
        parts,
        new_pairs,
        patch_config={
            **index.content["patch_config"],
            "compress": False,
            "fold": f"{config.fold} of {config.folds}",
        },
        align_config=without_paths(index.content.get("align_config", {})),
    )


def _scene(pair: dict[str, Any]) -> str:
    """What the pairs of one scene have in common."""
    return str(pair.get("group") or dslr_id(pair))


def _with_split(pair: dict[str, Any], own: int | None, fold: int) -> dict[str, Any]:
    """A line of `pairs.jsonl` for a fold; pairs of the test split are in none."""
    if pair.get("split") not in _FOLDED:
        dropped = {**pair["dropped"], _KEPT_FOR_TEST: pair["kept"]} if pair["kept"] else {}
        return {**pair, "split": None, "kept": 0, "dropped": dropped or pair["dropped"]}
    return {**pair, "split": "test" if own == fold else "train"}


@dataclass
class _Part:
    """The rows of one shard that go into the new folder, all of them unless `rows` says which.

    `first_pair` is added to the numbers of its photo pairs; `thumbnails` says whether theirs go
    with them.
    """

    index: ShardIndex
    split: str
    layout: ShardLayout
    first_pair: int = 0
    rows: NDArray[np.int64] | None = None
    thumbnails: bool = True

    @property
    def count(self) -> int:
        return self.layout.count if self.rows is None else len(self.rows)

    def load(self) -> Columns:
        rows = slice(None) if self.rows is None else self.rows
        columns = self.layout.columns(rows)
        return columns | {"pair": columns["pair"] + np.int32(self.first_pair)}

    def source(self) -> Source:
        stored = self.layout.thumbnails if self.thumbnails else None
        own = {} if stored is None else stored.loaders()
        thumbnails = {pair + self.first_pair: load for pair, load in own.items()}
        return Source(self.count, self.load, thumbnails=thumbnails)


def _layouts(
    index: ShardIndex, pairs: int, splits: Sequence[str] = SPLITS
) -> list[tuple[str, ShardLayout]]:
    layouts = [
        (split, checked_layout(index, entry)) for split in splits for entry in index.shards[split]
    ]
    for _, layout in layouts:
        refuse_unknown_pairs(layout, pairs)
    return layouts


def _prepare(output: Path, config: Config, inputs: dict[str, str], overwrite: bool) -> WorkFolder:
    work = prepare(
        output,
        kind=KIND,
        description_name=INDEX_FILE,
        format_version=SHARD_FORMAT,
        finished_formats=READABLE_SHARDS,
        config=config,
        inputs=inputs,
        overwrite=overwrite,
    )
    if work.complete:
        remove_work(output)
        say(f"{output} is already complete; nothing to do.")
    return work


def _finish(
    work: WorkFolder,
    parts: list[_Part],
    pairs: list[dict[str, Any]],
    patch_config: dict[str, Any],
    align_config: dict[str, Any],
) -> Description:
    patch_size = parts[0].index.patch_size
    entries = {}
    for split in SPLITS:
        sources = [part.source() for part in parts if part.split == split and part.count]
        entries[split] = write_split(
            work.path,
            split,
            sources,
            patch_size,
            patch_config,
            compress=patch_config["compress"],
        )
    finish_shards(
        work,
        entries,
        pairs,
        patch_size=patch_size,
        patch_config=patch_config,
        align_config=align_config,
    )
    remove_work(work.path)
    write_card(work.path)
    return describe(work.path)


def _with_kept(pair: dict[str, Any], kept: int, *, thumbnail: bool) -> dict[str, Any]:
    """A line of `pairs.jsonl` after filtering."""
    dropped = dict(pair["dropped"])
    if pair["kept"] > kept:
        dropped[_LOW_NCC] = dropped.get(_LOW_NCC, 0) + pair["kept"] - kept
    split = pair["split"] if kept else None
    thumbnail = thumbnail and bool(kept) and pair.get("thumbnail", False)
    return {**pair, "split": split, "kept": kept, "dropped": dropped, "thumbnail": thumbnail}


def _cut_with_thumbnails(index: ShardIndex) -> bool:
    """Whether thumbnails were asked for; in format 1 they could not be."""
    return bool(index.content["patch_config"].get("thumbnails", False))


def _refuse_in_place(output: Path, folders: Sequence[Path]) -> None:
    """Raise UsageError if the result would replace what it is made from."""
    if output.resolve() in [folder.resolve() for folder in folders]:
        raise UsageError(f"{output} is one of the inputs; choose another output folder with -o.")


def _refuse_twice(folders: Sequence[Path]) -> None:
    """Raise UsageError if a folder is given twice, so that its patches would count double."""
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UsageError(f"{folder} is given twice; name each shards folder once.")
        seen.add(folder.resolve())


def _refuse_difference(indices: list[ShardIndex], setting: str) -> None:
    """Raise DpedkitError if the folders were cut with different values of a setting."""
    values = {str(index.folder): index.content["patch_config"].get(setting) for index in indices}
    if len(set(values.values())) > 1:
        told = ", ".join(f"{folder}: {value}" for folder, value in values.items())
        raise DpedkitError(f"Shards cut with different --{setting} cannot be merged ({told}).")


def _refuse_leaks(pairs: list[dict[str, Any]]) -> None:
    """Raise DpedkitError if one DSLR photo is in two splits."""
    seen: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        if not pair.get("split"):
            continue
        other = seen.setdefault(dslr_id(pair), pair)
        if other["split"] != pair["split"]:
            raise DpedkitError(
                f"{pair['dslr']} is in the {other['split']} split of one folder and in the "
                f"{pair['split']} split of another, so a network would be tested on what it was "
                "trained on; cut both with the same --seed, --test-pairs and --val-pairs, or state "
                "the splits with --split-file."
            )
