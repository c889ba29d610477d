"""Cut an aligned folder into shards: in parallel, resumable and byte-for-byte reproducible.

The patches of each pair are first staged in `work/`, one file per pair, and its record is appended
to `work/pairs.jsonl`. When all pairs are cut, they are divided into splits and packed into shards
in pair order. A staged file is removed once its patches are in finished shards.

Every run stages in its own folder, because workers outlive a killed run for a moment and must not
write to the folder of the next run.
"""

from __future__ import annotations

import os
import shutil
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dpedkit.aligned import AlignedPhotos, OriginalGoneError, content_hash, read_aligned
from dpedkit.core import lock
from dpedkit.core.atomic import make_folder
from dpedkit.core.console import progress, say, warn
from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.core.manifest import Journal, read_jsonl
from dpedkit.core.parallel import ordered_map
from dpedkit.core.records import PairRecord, phone_thumbnail
from dpedkit.core.wording import counted, some
from dpedkit.core.workfolder import WorkFolder, prepare
from dpedkit.patches.config import PatchConfig
from dpedkit.patches.matching import Patches, match_windows
from dpedkit.patches.sample import sample_dropped
from dpedkit.patches.splitting import Splitting
from dpedkit.patches.summary import PatchSummary, nothing_kept, summarise
from dpedkit.shards.finished import WORK, remove_work
from dpedkit.shards.finishing import finish_shards, restated
from dpedkit.shards.format import FIELDS, READABLE_SHARDS, SHARD_FORMAT, SPLITS, Columns
from dpedkit.shards.index import INDEX_FILE, KIND, PAIRS_FILE
from dpedkit.shards.layout import inspect_shard
from dpedkit.shards.provenance import photo_id, photo_name, without_folders, without_paths
from dpedkit.shards.statistics import NCC_EDGES, SHIFT_EDGES, histogram
from dpedkit.shards.thumbnails import Thumbnail
from dpedkit.shards.writer import Source, read_shard, write_shard, write_split

_GONE = "original_gone"  # marks a pair that is tried again once its original is back
_STAGED = "staged"  # path of the staged patches in the work folder; only in the work journal


@lock.until_end()
def cut_patches(
    aligned: str | Path,
    output: str | Path,
    config: PatchConfig | None = None,
    *,
    jobs: int = 0,
    overwrite: bool = False,
) -> PatchSummary:
    """Cut the patches of all accepted pairs of an aligned folder and pack them into shards.

    It can be killed at any time and resumed by the same call. The resulting bytes are the same as
    those of an uninterrupted run, for any number of workers.

    Parameters
    ----------
    aligned : str or Path
        The output of `dpedkit align`.
    output : str or Path
        The shards folder.
    config : PatchConfig, optional
    jobs : int
        Worker processes; 0 uses every core. The result does not depend on it.
    overwrite : bool
        Replace shards made with other settings.

    Raises
    ------
    DpedkitError
        If `aligned` is not a complete aligned folder, `output` was made with other settings, no
        window was kept, or the disk is full.
    """
    aligned, output, config = Path(aligned), Path(output), config or PatchConfig()
    records, description = read_aligned(aligned)
    splitting = Splitting.of(config, [record.name for record in records])
    config = splitting.config
    photos = AlignedPhotos.of(aligned, description)
    photos.refuse_damaged(records, thumbnails=config.thumbnails)
    begin = partial(
        prepare,
        output,
        kind=KIND,
        description_name=INDEX_FILE,
        format_version=SHARD_FORMAT,
        finished_formats=READABLE_SHARDS,
        config=config,
        inputs={
            "aligned photos": content_hash(aligned, records, description),
            **splitting.inputs(),
        },
    )
    folder = begin(overwrite=overwrite)
    if folder.complete and (back := _back_again(output, records, photos)):
        say(
            f"{output}: originals of {counted(back, 'pair')} are back, so the patches are cut again"
        )
        folder = begin(overwrite=True)
    if folder.complete:
        remove_work(output)
        say(f"{output} is already complete; nothing to do.")
        return summarise(output, restated(folder, config.notes()), resumed_complete=True)
    pairs = _cut_all(photos, folder, records, config, jobs)
    if config.thumbnails:
        _tell_of_missing_thumbnails(pairs)
    made_from = {
        "aligned": Path(os.path.relpath(aligned.resolve(), output.resolve())).as_posix(),
        "align_config": without_paths(description.get("config", {})),
    }
    result = _pack(folder, pairs, splitting, made_from)
    return summarise(output, result)


def _back_again(output: Path, records: list[PairRecord], photos: AlignedPhotos) -> int:
    """Number of pairs left out for a missing original that is back now."""
    if not (output / PAIRS_FILE).is_file():
        return 0
    gone = {pair.get("name") for pair in read_jsonl(output / PAIRS_FILE) if pair.get(_GONE)}
    return sum(record.name in gone and photos.are_back(record) for record in records)


def _tell_of_missing_thumbnails(pairs: list[dict[str, Any]]) -> None:
    names = [pair["name"] for pair in pairs if pair["kept"] and not pair["thumbnail"]]
    if names:
        warn(
            f"{counted(len(names), 'photo pair')} without a thumbnail ({some(names)}): the aligned "
            "folder has none, and the original phone photos are missing or have changed. To add "
            "them, restore the photos and use --overwrite."
        )


# ------------------------------------------------------------------------------------- cutting


def _cut_all(
    photos: AlignedPhotos,
    folder: WorkFolder,
    records: list[PairRecord],
    config: PatchConfig,
    jobs: int,
) -> list[dict[str, Any]]:
    """Stage the patches of all pairs that an earlier run has not staged; return all records.

    Pairs whose originals were missing then are tried again.
    """
    journal_file = make_folder(folder.path / WORK) / PAIRS_FILE
    stage = make_folder(journal_file.parent / uuid.uuid4().hex)
    with Journal(journal_file) as journal:
        done = {pair["name"] for pair in read_jsonl(journal_file) if not pair.get(_GONE)}
        if done:
            say(f"resuming after {len(done)} of {len(records)} pairs")
        cut = partial(_cut_pair, photos, stage, config)
        todo = [item for item in enumerate(records) if item[1].name not in done]
        with progress("patches", len(records), "pairs", done=len(done)) as bar:
            for record in ordered_map(cut, todo, jobs, lost=_lost):
                journal.append(record)
                if "error" in record:
                    warn(f"pair {record['name']} is left out: {record['error']}")
                bar.advance(note=f"{record['kept']} of {record['tried']} windows")
    cut_pairs = {pair["name"]: pair for pair in read_jsonl(journal_file)}
    return [cut_pairs[record.name] for record in records]


def _cut_pair(
    photos: AlignedPhotos,
    stage: Path,
    config: PatchConfig,
    item: tuple[int, PairRecord],
) -> dict[str, Any]:
    """Cut one pair, stage its patches in a file, and return its record."""
    number, pair = item
    record = _begin(pair)
    try:
        phone, dslr = photos.read(pair)
        known = photos.known(pair)
    except OriginalGoneError as error:
        return {**record, "error": _public(error, photos, pair), _GONE: True}
    except PhotoError as error:
        return {**record, "error": _public(error, photos, pair)}
    if phone.shape != dslr.shape:
        return {**record, "error": "the two aligned photos differ in size; align them again."}
    if known is not None and known.shape != phone.shape[:2]:
        return {
            **record,
            "error": "the size of the aligned photos is not that of their crop; align them again.",
        }
    patches = match_windows(phone, dslr, config, known)
    try:
        thumbnail = photos.thumbnail(pair) if config.thumbnails and len(patches) else None
    except PhotoError as error:
        return {**record, "error": _public(error, photos, pair)}
    staged = stage / f"{number:06d}.h5"
    if len(patches):
        write_shard(
            staged,
            [_columns(patches, number)],
            len(patches),
            config.size,
            {},
            thumbnails={} if thumbnail is None else {number: lambda: thumbnail},
        )
    return {
        **record,
        _STAGED: str(staged.relative_to(stage.parent)),
        "thumbnail": thumbnail is not None,
        "tried": patches.tried,
        "kept": len(patches),
        "dropped": patches.dropped,
        "dropped_sample": sample_dropped(patches, pair.name, config.seed),
        "ncc_histogram": histogram(patches.window_ncc, NCC_EDGES),
        "shift_histogram": histogram(patches.window_shift, SHIFT_EDGES),
    }


def _begin(pair: PairRecord) -> dict[str, Any]:
    """The record of a pair before it is cut."""
    return {
        "name": pair.name,
        "split": None,
        "phone": photo_name(Path(pair.phone.file)),
        "phone_id": photo_id(pair.phone.file),
        "phone_size": [pair.phone.width, pair.phone.height],
        "dslr": photo_name(Path(pair.dslr.file)),
        "dslr_id": photo_id(pair.dslr.file),
        "cameras": [pair.phone.camera, pair.dslr.camera],
        "crop": list(pair.crop),
        "thumbnail": False,
        "tried": 0,
        "kept": 0,
        "dropped": {},
    }


def _lost(item: tuple[int, PairRecord], cause: str) -> dict[str, Any]:
    """The record of a pair whose process died."""
    return {**_begin(item[1]), "error": f"not cut: {cause}."}


def _public(error: PhotoError, photos: AlignedPhotos, pair: PairRecord) -> str:
    files: list[Path | str] = [
        pair.phone.file,
        pair.dslr.file,
        *photos.files(pair.name),
        phone_thumbnail(photos.folder, pair.name),
    ]
    return without_folders(str(error), files)


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
    splitting: Splitting,
    made_from: dict[str, Any],
) -> dict[str, Any]:
    """Divide the staged pairs into splits, pack them into shards, and finish the index."""
    config = splitting.config
    work = folder.path / WORK
    if not any(pair["kept"] for pair in pairs):
        # There is nothing to keep, and the user has to run again with other settings.
        shutil.rmtree(work)
        folder.description_file.unlink()
        raise DpedkitError(nothing_kept(folder.path, pairs, config))
    split_of = splitting.assign([pair["name"] for pair in pairs if pair["kept"]])
    entries = {}
    with progress("pack", len(SPLITS), "splits") as bar:
        for split in SPLITS:
            sources = [
                _staged_source(work / pair[_STAGED], number, pair)
                for number, pair in enumerate(pairs)
                if split_of.get(pair["name"]) == split
            ]
            entries[split] = write_split(
                folder.path,
                split,
                sources,
                config.size,
                config.to_dict(),
                compress=config.compress,
            )
            bar.advance()
    pairs = [
        {key: value for key, value in pair.items() if key != _STAGED}
        | {"split": split_of.get(pair["name"])}
        | splitting.group(pair["name"])
        for pair in pairs
    ]
    index = finish_shards(
        folder,
        entries,
        pairs,
        patch_size=config.size,
        patch_config=config.to_dict(),
        **made_from,
    )
    remove_work(folder.path)
    return index


def _staged_source(path: Path, number: int, pair: dict[str, Any]) -> Source:
    thumbnails = {number: partial(_staged_thumbnail, path)} if pair["thumbnail"] else {}
    release = partial(path.unlink, missing_ok=True)
    return Source(pair["kept"], partial(_staged_patches, path), release, thumbnails)


def _staged_patches(path: Path) -> Columns:
    if not path.exists():  # they are removed when they are in a finished shard
        raise DpedkitError(
            f"{path.parents[2]} holds a damaged shard, and the patches that went into it are gone; "
            "use --overwrite to cut them again."
        )
    return read_shard(path)


def _staged_thumbnail(path: Path) -> Thumbnail:
    stored = inspect_shard(path).thumbnails
    assert stored is not None, path
    return stored.read(0)
