"""Convert folders of patch images into shards: in parallel, resumable, in bounded memory.

A shard is written when its patches have been read, and recorded in `work/shards.jsonl` when it is
complete; a stopped run continues after the last one. Patch pairs with an unreadable side are left
out and named, which makes their shard shorter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core import lock
from dpedkit.core.atomic import make_folder
from dpedkit.core.console import Progress, progress, say, warn
from dpedkit.core.errors import DpedkitError, PhotoError, TooManyRejectedError
from dpedkit.core.manifest import Journal, read_jsonl
from dpedkit.core.parallel import ordered_map
from dpedkit.core.wording import counted
from dpedkit.core.workfolder import WorkFolder, prepare
from dpedkit.images import photo_size, read_photo
from dpedkit.import_patches.config import ImportPatchesConfig
from dpedkit.import_patches.layout import PatchFiles, find_patches, identity
from dpedkit.import_patches.summary import ImportPatchesSummary
from dpedkit.shards.correlation import patch_ncc
from dpedkit.shards.finished import WORK, file_sha256, remove_work
from dpedkit.shards.finishing import finish_shards, restated
from dpedkit.shards.format import (
    PATCHES_PER_SHARD,
    READABLE_SHARDS,
    SHARD_FORMAT,
    SPLITS,
    Columns,
)
from dpedkit.shards.index import INDEX_FILE, KIND, ShardEntry, shard_name
from dpedkit.shards.layout import inspect_shard
from dpedkit.shards.provenance import photo_id, photo_name, without_folders
from dpedkit.shards.statistics import NCC_EDGES, SHIFT_EDGES, histogram, window_totals
from dpedkit.shards.writer import write_shard

_JOURNAL = "shards.jsonl"
_PAIRS_AT_ONCE = 128  # handed to a worker
_LARGEST_PATCH = 1024  # px; beyond it, it is a photo
_UNREADABLE = "unreadable"


@dataclass(frozen=True)
class _Shard:
    """The patch pairs `first` to `last` of a split, and the number of the first in all splits."""

    split: str
    number: int
    first: int
    last: int
    pair: int

    @property
    def file(self) -> str:
        return shard_name(self.split, self.number)


@dataclass(frozen=True)
class _Block:
    """What a worker made of some pairs: the readable ones, and why the others are not."""

    columns: Columns
    failed: dict[int, str]


_Task = list[tuple[int, tuple[Path, Path]]]  # numbers of pairs, each with its two files


@lock.until_end()
def import_patches(
    folder: str | Path,
    dslr_folder: str | Path | None,
    output: str | Path,
    config: ImportPatchesConfig | None = None,
    *,
    jobs: int = 0,
    overwrite: bool = False,
) -> ImportPatchesSummary:
    """Write the patch pairs of DPED's folders, or of two plain ones, as shards.

    Parameters
    ----------
    folder : str or Path
        A phone's folder of DPED, a folder that holds it, or, with `dslr_folder`, the phone's
        patches themselves.
    dslr_folder : str or Path or None
        The DSLR's patches.
    output : str or Path
        The shards folder.
    config : ImportPatchesConfig, optional
    jobs : int
        Worker processes; 0 for every core. Does not change the result.
    overwrite : bool
        Replace shards that were made from other patches.

    Raises
    ------
    DpedkitError
        If the folders hold no patches, their names do not match, they are photos and not patches,
        `output` is something else, or the disk is full.
    TooManyRejectedError
        If more patch pairs than `config.max_failed` were left out.
    """
    folder, output, config = Path(folder), Path(output), config or ImportPatchesConfig()
    dslr_folder = None if dslr_folder is None else Path(dslr_folder)
    files = find_patches(folder, dslr_folder, config.split)
    size = _patch_size(files)
    work = prepare(
        output,
        kind=KIND,
        description_name=INDEX_FILE,
        format_version=SHARD_FORMAT,
        finished_formats=READABLE_SHARDS,
        config=config,
        inputs={"patches": identity(files)},
        overwrite=overwrite,
    )
    if work.complete:
        remove_work(output)
        say(f"{output} is already complete; nothing to do.")
        return _checked(_summary(output, restated(work, config.notes())), config)
    written = _write_shards(files, work, size, jobs)
    content = _finish(work, files, written, size, config)
    return _checked(_summary(output, content), config)


def _patch_size(files: Mapping[str, PatchFiles]) -> int:
    """Side of the patches in px, by the first one whose header can be read."""
    for patches in files.values():
        for number in range(len(patches)):
            path = patches.paths(number)[0]
            try:
                width, height = photo_size(path)
            except PhotoError:
                continue
            if width != height or width > _LARGEST_PATCH:
                raise DpedkitError(
                    f"{path} is {width}x{height} px, but patches are square and at most "
                    f"{_LARGEST_PATCH} px; use `dpedkit align` and `dpedkit patches` for whole "
                    "photos."
                )
            return width
    raise DpedkitError("None of the phone's patches can be read.")


# ------------------------------------------------------------------------------------- shards


def _write_shards(
    files: Mapping[str, PatchFiles], work: WorkFolder, size: int, jobs: int
) -> list[dict[str, Any]]:
    """Write the shards that an earlier run has not; return the journal's records of all."""
    shards = list(_plan(files))
    journal_file = make_folder(work.path / WORK) / _JOURNAL
    with Journal(journal_file) as journal:
        done = len(read_jsonl(journal_file))
        todo = shards[done:]
        tasks = (task for shard in todo for task in _tasks(files[shard.split], shard))
        lost = partial(_read_one_by_one, size)
        blocks = ordered_map(partial(_read_block, size), tasks, jobs, lost=lost)
        finished = sum(shard.last - shard.first for shard in shards[:done])
        total = sum(map(len, files.values()))
        if finished:
            say(f"continuing after {finished} of {counted(total, 'patch pair')}")
        with progress("import", total, "patch pairs", done=finished) as bar:
            for shard in todo:
                journal.append(_write_one(work.path, shard, blocks, size, bar))
    return read_jsonl(journal_file)


def _plan(files: Mapping[str, PatchFiles]) -> Iterator[_Shard]:
    pair = 0
    for split in SPLITS:
        count = len(files[split]) if split in files else 0
        for number, first in enumerate(range(0, count, PATCHES_PER_SHARD)):
            last = min(first + PATCHES_PER_SHARD, count)
            yield _Shard(split, number, first, last, pair + first)
        pair += count


def _tasks(files: PatchFiles, shard: _Shard) -> Iterator[_Task]:
    for start in range(shard.first, shard.last, _PAIRS_AT_ONCE):
        numbers = range(start, min(start + _PAIRS_AT_ONCE, shard.last))
        yield [(shard.pair + n - shard.first, files.paths(n)) for n in numbers]


def _write_one(
    folder: Path, shard: _Shard, blocks: Iterator[_Block], size: int, bar: Progress
) -> dict[str, Any]:
    """Write the shard whose blocks come next; returns its record."""
    own, read = [], 0
    failed: dict[int, str] = {}
    while read < shard.last - shard.first:
        block = next(blocks)
        own.append(block.columns)
        failed |= block.failed
        pairs = len(block.columns["ncc"]) + len(block.failed)
        read += pairs
        for reason in block.failed.values():
            warn(f"patch pair left out: {reason}")
        bar.advance(pairs)
    count = read - len(failed)
    path = folder / shard.file
    write_shard(path, own, count, size, _patch_config(size))
    return {
        "split": shard.split,
        "file": shard.file,
        "patches": count,
        "sha256": file_sha256(path),
        "failed": {str(pair): reason for pair, reason in failed.items()},
    }


def _read_block(size: int, task: _Task) -> _Block:
    read, failed = [], {}
    for pair, (phone, dslr) in task:
        try:
            read.append((pair, _read_patch(phone, size), _read_patch(dslr, size)))
        except PhotoError as error:
            failed[pair] = str(error)
    count = len(read)
    images = np.empty((2, count, size, size, 3), np.uint8)
    for row, (_, phone_patch, dslr_patch) in enumerate(read):
        images[:, row] = phone_patch, dslr_patch
    columns = {
        "phone": images[0],
        "dslr": images[1],
        "ncc": np.array([patch_ncc(a, b) for a, b in zip(*images, strict=True)], np.float32),
        "xy": np.zeros((count, 2), np.int32),
        "shift": np.zeros((count, 2), np.float32),
        "angle": np.zeros(count, np.float32),
        "shift_error": np.full(count, np.nan, np.float32),  # how they were matched is not known
        "pair": np.array([pair for pair, _, _ in read], np.int32),
    }
    return _Block(columns, failed)


def _read_one_by_one(size: int, task: _Task, why: str) -> _Block:
    """What can be read of a task whose process died, each pair by a process that may die too."""
    if len(task) == 1:
        ((pair, (phone, _)),) = task
        left_out = {pair: f"{phone} and its DSLR patch could not be read: {why}"}
        return _Block(_read_block(size, []).columns, left_out)
    blocks = list(
        ordered_map(
            partial(_read_block, size),
            ([pair] for pair in task),
            jobs=2,  # one would read in this process
            lost=partial(_read_one_by_one, size),
        )
    )
    columns = {
        name: np.concatenate([block.columns[name] for block in blocks])
        for name in blocks[0].columns
    }
    return _Block(columns, {pair: left for block in blocks for pair, left in block.failed.items()})


def _read_patch(path: Path, size: int) -> NDArray[np.uint8]:
    patch = read_photo(path)
    if patch.shape != (size, size, 3):
        height, width = patch.shape[:2]
        raise PhotoError(f"{path} is {width}x{height} px, but the others are {size}x{size}.")
    return patch


# -------------------------------------------------------------------------------------- index


def _finish(
    work: WorkFolder,
    files: Mapping[str, PatchFiles],
    written: list[dict[str, Any]],
    size: int,
    config: ImportPatchesConfig,
) -> dict[str, Any]:
    """Write `pairs.jsonl` and the index; returns the index."""
    failed = {int(pair): why for record in written for pair, why in record["failed"].items()}
    entries: dict[str, list[ShardEntry]] = {split: [] for split in SPLITS}
    for record in written:
        entry = ShardEntry(record["file"], record["patches"], record["sha256"])
        entries[record["split"]].append(entry)
    index = finish_shards(
        work,
        entries,
        _PairRecords(files, failed, size),
        patch_size=size,
        patch_config={**_patch_config(size), **config.notes()},
        align_config={},
        windows=_windows(work.path, written, len(failed)),
    )
    remove_work(work.path)
    return index


@dataclass(frozen=True)
class _PairRecords:
    """The lines of `pairs.jsonl`, one for each patch pair, in the order of their numbers.

    Each patch pair counts as a photo pair: which came from one photo is not known. There are
    hundreds of thousands in DPED, so each is made when its turn comes.
    """

    files: Mapping[str, PatchFiles]
    failed: Mapping[int, str]
    size: int

    def __iter__(self) -> Iterator[dict[str, Any]]:
        pair = 0
        for split in (split for split in SPLITS if split in self.files):
            for number in range(len(self.files[split])):
                phone, dslr = self.files[split].paths(number)
                error = self.failed.get(pair)
                if error:
                    error = without_folders(error, (phone, dslr))
                record: dict[str, Any] = {
                    "name": f"{split}/{phone.stem}",
                    "split": None if error else split,
                    "phone": photo_name(phone),
                    "dslr": photo_name(dslr),
                    "dslr_id": photo_id(dslr),
                    "crop": [0, 0, self.size, self.size],
                    "tried": 1,
                    "kept": 0 if error else 1,
                    "dropped": {_UNREADABLE: 1} if error else {},
                }
                yield {**record, "error": error} if error else record
                pair += 1


def _windows(folder: Path, written: list[dict[str, Any]], failed: int) -> dict[str, Any]:
    layouts = [inspect_shard(folder / record["file"]) for record in written]
    ncc = np.concatenate([layout.map("ncc") for layout in layouts])
    totals = {
        "tried": len(ncc) + failed,
        "kept": len(ncc),
        "dropped": {_UNREADABLE: failed} if failed else {},
        "ncc_histogram": histogram(ncc, NCC_EDGES),
        "shift_histogram": histogram(np.zeros(0), SHIFT_EDGES),
    }
    return window_totals([totals])


def _patch_config(size: int) -> dict[str, Any]:
    """What readers of shards want to know of how patches were chosen: nothing was dropped."""
    return {"min_corr": -1.0, "correlate": "luma", "size": size}


def _summary(output: Path, content: Mapping[str, Any]) -> ImportPatchesSummary:
    patches = {split: content["splits"][split]["patches"] for split in SPLITS}
    return ImportPatchesSummary(str(output), content["patch_size"], patches, content["failed"])


def _checked(summary: ImportPatchesSummary, config: ImportPatchesConfig) -> ImportPatchesSummary:
    """The summary, unless more was left out than allowed."""
    total = sum(summary.patches.values()) + len(summary.failed)
    if len(summary.failed) > config.max_failed * total:
        raise TooManyRejectedError(
            f"{len(summary.failed)} of {counted(total, 'patch pair')} could not be read, more than "
            f"the limit of {config.max_failed:.0%}; the others are in {summary.output}.",
            summary,
        )
    return summary
