"""Cut a whole aligned folder into shards: in parallel, resumable, the same bytes every time.

Each pair's patches are first staged below `work/`, one file a pair, and its record is appended to
`work/pairs.jsonl`. When all pairs are cut, they are divided into splits and packed into shards in
pair order; a staged file is removed once its patches are in finished shards.

Every run stages in a folder of its own: workers outlive a killed run for a moment, and must not
write where the next run does.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dpedkit.atomic import make_folder
from dpedkit.console import progress, say, table, warn
from dpedkit.errors import DpedkitError, PhotoError, UsageError
from dpedkit.images import read_photo
from dpedkit.manifest import Journal, read_json, read_jsonl, write_jsonl
from dpedkit.parallel import ordered_map
from dpedkit.patches.config import PatchConfig
from dpedkit.patches.matching import DROP_REASONS, Patches, match_windows
from dpedkit.records import ALIGNED_FORMAT, PairRecord
from dpedkit.shards.format import FIELDS, SHARD_FORMAT, SPLITS, Columns
from dpedkit.shards.index import INDEX_FILE, KIND, PAIRS_FILE
from dpedkit.shards.splits import assign_splits
from dpedkit.shards.tally import NCC_EDGES, SHIFT_EDGES, histogram, window_totals
from dpedkit.shards.writer import Source, describe_splits, read_shard, write_shard, write_split
from dpedkit.workfolder import WorkFolder, prepare

_WORK = "work"
_STAGED = "staged"  # where a pair's patches wait, below the work folder; only in the work journal


@dataclass(frozen=True)
class PatchSummary:
    """What a run of `cut_patches` did.

    Attributes
    ----------
    output : str
    pairs : int
        Accepted pairs of the aligned folder.
    failed : dict of str to str
        Pairs whose aligned photos could not be used, and why.
    tried, kept : int
        Windows.
    dropped : dict of str to int
        Windows by the reason for which they were dropped.
    splits : dict of str to dict
        Photo pairs and patches of each split.
    resumed_complete : bool
        Whether everything had been done by an earlier run.
    """

    output: str
    pairs: int
    failed: dict[str, str]
    tried: int
    kept: int
    dropped: dict[str, int]
    splits: dict[str, dict[str, int]]
    resumed_complete: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return dict(vars(self))

    def as_text(self) -> str:
        """The summary for people."""
        lines = [
            f"{self.output}: {self.kept} patch pairs kept of {self.tried} windows tried on "
            f"{self.pairs - len(self.failed)} photo pairs",
        ]
        if self.dropped:
            lines.append(_reasons_table(self.dropped, self.tried))
        rows = [(name, its["pairs"], its["patches"]) for name, its in self.splits.items()]
        lines.append(table(("split", "photo pairs", "patch pairs"), rows))
        lines += [f"left out: {name}: {reason}" for name, reason in self.failed.items()]
        return "\n".join(lines)


def cut_patches(
    aligned: Path,
    output: Path,
    config: PatchConfig,
    *,
    jobs: int = 0,
    overwrite: bool = False,
) -> PatchSummary:
    """Cut the patches of every accepted pair of an aligned folder and pack them into shards.

    Killed at any moment, it continues where it was, and ends with the same bytes as an
    uninterrupted run, whatever the number of workers.

    Parameters
    ----------
    aligned : Path
        What `dpedkit align` made.
    output : Path
        The shards folder.
    config : PatchConfig
    jobs : int
        Worker processes; 0 for every core. Does not change the result.
    overwrite : bool
        Replace shards that were made with other settings.

    Raises
    ------
    DpedkitError
        If `aligned` is no finished aligned folder, `output` was made with other settings, no
        window was fit to be kept, or the disk is full.
    """
    records, description = read_aligned(aligned)
    reserved = (config.test_pairs or 0) + (config.val_pairs or 0)
    if reserved >= len(records):
        raise UsageError(
            f"--test-pairs and --val-pairs reserve {reserved} of {len(records)} photo pairs: "
            "nothing is left to train on."
        )
    folder = prepare(
        output,
        kind=KIND,
        description_name=INDEX_FILE,
        format_version=SHARD_FORMAT,
        config=config,
        inputs={"aligned photos": _content_hash(aligned, records, description)},
        overwrite=overwrite,
    )
    if folder.complete:
        shutil.rmtree(output / _WORK, ignore_errors=True)
        say(f"{output} is complete already; nothing to do.")
        return _summarise(output, folder.description, resumed_complete=True)
    pairs = _cut_all(aligned, folder, records, config, jobs)
    result = _pack(folder, pairs, config, description.get("config", {}))
    return _summarise(output, result)


def read_aligned(folder: Path) -> tuple[list[PairRecord], dict[str, Any]]:
    """The accepted pairs of a finished aligned folder, and its `dataset.json`.

    Raises
    ------
    DpedkitError
        If the folder is missing, was not made by `dpedkit align`, is not finished, is of another
        format version, or has no accepted pair.
    """
    description_file = folder / "dataset.json"
    if not folder.is_dir():
        raise DpedkitError(
            f"{folder}: there is no such folder; make it with `dpedkit align PHONE DSLR` first."
        )
    if not description_file.is_file():
        raise DpedkitError(
            f"{folder} was not made by `dpedkit align` (it has no dataset.json); run "
            "`dpedkit align PHONE DSLR` first, or give the folder that it made."
        )
    description = read_json(description_file)
    if description.get("kind") != "aligned":
        raise DpedkitError(f"{folder} holds '{description.get('kind')}' data, not aligned photos.")
    if description.get("format") != ALIGNED_FORMAT:
        raise DpedkitError(
            f"{folder} has aligned format {description.get('format')}, but this dpedkit reads "
            f"format {ALIGNED_FORMAT}; run `dpedkit align` again with --overwrite."
        )
    if not description.get("complete"):
        raise DpedkitError(
            f"{folder} is not finished: its `dpedkit align` run was stopped. Run the same command "
            "again; it continues where it stopped."
        )
    pairs_file = folder / "pairs.jsonl"
    records = [PairRecord.from_dict(line, pairs_file) for line in read_jsonl(pairs_file)]
    accepted = [record for record in records if record.accepted]
    if not accepted:
        raise DpedkitError(
            f"{folder} has no accepted pair among {len(records)}; see the reasons in {pairs_file}."
        )
    return accepted, description


def _content_hash(folder: Path, records: Iterable[PairRecord], description: dict[str, Any]) -> str:
    """A short hash of all that decides the pixels of the aligned photos."""
    digest = hashlib.sha256(json.dumps(description.get("config"), sort_keys=True).encode())
    for record in records:
        sizes = [
            path.stat().st_size if path.is_file() else -1
            for path in _photo_files(folder, record.name)
        ]
        content = [record.name, record.crop, record.map, sizes]
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _photo_files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / "phone" / f"{name}.png", folder / "dslr" / f"{name}.png"


# ------------------------------------------------------------------------------------- cutting


def _cut_all(
    aligned: Path, folder: WorkFolder, records: list[PairRecord], config: PatchConfig, jobs: int
) -> list[dict[str, Any]]:
    """Stage the patches of all pairs that an earlier run has not staged; return all records."""
    journal_file = make_folder(folder.path / _WORK) / PAIRS_FILE
    stage = make_folder(journal_file.parent / uuid.uuid4().hex)
    with Journal(journal_file) as journal:
        done = len(read_jsonl(journal_file))
        if done:
            say(f"continuing after {done} of {len(records)} pairs")
        cut = partial(_cut_pair, aligned, stage, config)
        todo = list(enumerate(records))[done:]
        with progress("patches", len(records), "pairs", done=done) as bar:
            for record in ordered_map(cut, todo, jobs):
                journal.append(record)
                if "error" in record:
                    warn(f"pair {record['name']} is left out: {record['error']}")
                bar.advance(note=f"{record['kept']} of {record['tried']} windows")
    return read_jsonl(journal_file)


def _cut_pair(
    aligned: Path, stage: Path, config: PatchConfig, item: tuple[int, PairRecord]
) -> dict[str, Any]:
    """Cut one pair, stage its patches in a file, and return its record."""
    number, pair = item
    record: dict[str, Any] = {
        "name": pair.name,
        "split": None,
        "phone": pair.phone.file,
        "dslr": pair.dslr.file,
        "crop": list(pair.crop),
        "tried": 0,
        "kept": 0,
        "dropped": {},
    }
    try:
        phone, dslr = (read_photo(path) for path in _photo_files(aligned, pair.name))
    except PhotoError as error:
        return {**record, "error": str(error)}
    if phone.shape != dslr.shape:
        return {**record, "error": "its two aligned photos differ in size; align them again."}
    patches = match_windows(phone, dslr, config)
    staged = stage / f"{number:06d}.h5"
    if len(patches):
        write_shard(staged, [_columns(patches, number)], len(patches), config.size, {})
    return {
        **record,
        _STAGED: str(staged.relative_to(stage.parent)),
        "tried": patches.tried,
        "kept": len(patches),
        "dropped": patches.dropped,
        "ncc_histogram": histogram(patches.window_ncc, NCC_EDGES),
        "shift_histogram": histogram(np.linalg.norm(patches.shift, axis=1), SHIFT_EDGES),
    }


def _columns(patches: Patches, number: int) -> Columns:
    pair = np.full(len(patches), number, np.int32)
    return {
        field.name: pair if field.name == "pair" else getattr(patches, field.name)
        for field in FIELDS
    }


# ------------------------------------------------------------------------------------- packing


def _pack(
    folder: WorkFolder,
    pairs: list[dict[str, Any]],
    config: PatchConfig,
    align_config: dict[str, Any],
) -> dict[str, Any]:
    """Divide the staged pairs into splits, pack them into shards, and finish the index."""
    work = folder.path / _WORK
    if not any(pair["kept"] for pair in pairs):
        # Nothing here is worth keeping, and the cure is to run again with other settings.
        shutil.rmtree(work)
        folder.description_file.unlink()
        raise DpedkitError(_nothing_kept(folder.path, pairs, config))
    split_of = assign_splits(
        [pair["name"] for pair in pairs if pair["kept"]],
        seed=config.seed,
        test_pairs=config.test_pairs,
        val_pairs=config.val_pairs,
    )
    entries = {}
    with progress("pack", len(SPLITS), "splits") as bar:
        for split in SPLITS:
            sources = [
                _staged_source(work / pair[_STAGED], pair["kept"])
                for pair in pairs
                if split_of.get(pair["name"]) == split
            ]
            entries[split] = write_split(folder.path, split, sources, config.size, config.to_dict())
            bar.advance()
    pairs = [
        {key: value for key, value in pair.items() if key != _STAGED}
        | {"split": split_of.get(pair["name"])}
        for pair in pairs
    ]
    write_jsonl(folder.path / PAIRS_FILE, pairs)
    splits = describe_splits(entries)
    for split in SPLITS:
        splits[split]["pairs"] = sum(its == split for its in split_of.values())
    results = {
        "patch_size": config.size,
        "splits": splits,
        "pairs": len(pairs),
        "failed": {pair["name"]: pair["error"] for pair in pairs if "error" in pair},
        "windows": window_totals(pairs),
        "patch_config": config.to_dict(),
        "align_config": align_config,
    }
    folder.finish(**results)
    shutil.rmtree(work, ignore_errors=True)
    return {**folder.description, **results}


def _staged_source(path: Path, count: int) -> Source:
    return Source(count, partial(read_shard, path), partial(path.unlink, missing_ok=True))


def _summarise(output: Path, index: dict[str, Any], resumed_complete: bool = False) -> PatchSummary:
    windows = index["windows"]
    return PatchSummary(
        output=str(output),
        pairs=index["pairs"],
        failed=index["failed"],
        tried=windows["tried"],
        kept=windows["kept"],
        dropped=windows["dropped"],
        splits={
            split: {"pairs": its["pairs"], "patches": its["patches"]}
            for split, its in index["splits"].items()
        },
        resumed_complete=resumed_complete,
    )


def _reasons_table(dropped: dict[str, int], tried: int) -> str:
    rows = [
        (f"{reason}: {DROP_REASONS[reason]}", count, f"{100 * count / tried:.1f}%")
        for reason, count in dropped.items()
    ]
    return table(("dropped", "windows", "share"), rows)


def _nothing_kept(output: Path, pairs: list[dict[str, Any]], config: PatchConfig) -> str:
    """Why no patch was kept, and the cure for the most frequent reason."""
    tried = sum(pair["tried"] for pair in pairs)
    failed = [pair for pair in pairs if "error" in pair]
    if failed and not tried:
        return f"{output}: no pair could be used. {failed[0]['name']}: {failed[0]['error']}"
    if not tried:
        return (
            f"{output}: no aligned photo is large enough for a window of {config.size} px; "
            "choose a smaller --size."
        )
    dropped = window_totals(pairs)["dropped"]
    worst = max(dropped, key=lambda reason: dropped[reason])
    cure = {
        "low NCC": f"lower --min-corr (it is {config.min_corr}), or look at the alignment in the "
        "report of the aligned folder",
        "clipped": "raise --max-clipped",
        "flat": "use --flat keep",
        "mismatch": "raise --max-mismatch",
    }.get(worst, "look at the alignment in the report of the aligned folder")
    return f"{output}: none of {tried} windows was fit to be kept; {cure}.\n" + _reasons_table(
        dropped, tried
    )
