"""`align_folders`: align all pairs of two folders, in parallel, resumable at any time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpedkit.align.config import AlignConfig, AlignFoldersConfig
from dpedkit.align.decisions import (
    KEPT_DECISIONS,
    decided,
    keep_decisions,
    kept_decisions,
    read_decisions,
)
from dpedkit.align.sidecars import write_image_list, write_thumbnail
from dpedkit.core import console, lock
from dpedkit.core.atomic import make_folder
from dpedkit.core.errors import PhotoError, TooManyRejectedError
from dpedkit.core.manifest import Journal, read_jsonl, write_jsonl
from dpedkit.core.parallel import ordered_map
from dpedkit.core.records import (
    ACCEPTED,
    ALIGNED_FORMAT,
    BY_HAND,
    REJECTED,
    THUMBNAILS,
    PairRecord,
    SourcePhoto,
    WrittenFile,
    rejected_by_reason,
)
from dpedkit.core.wording import counted, some
from dpedkit.core.workfolder import WorkFolder, prepare
from dpedkit.images import PhotoLimits, read_photo_and_metadata, write_photo
from dpedkit.pairing.pairing import Pairing
from dpedkit.pairing.ways import pair_photos
from dpedkit.pairing.words import tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAIRS = "pairs.jsonl"
_JOURNAL = "journal.jsonl"
_LOST = "not aligned"
_SIDES = ("phone", "dslr")


@dataclass(frozen=True)
class AlignSummary:
    """Result of a run of `align_folders`.

    Attributes
    ----------
    output : Path
    pairs, accepted, rejected : int
        Of all pairs in the folder.
    reused : int
        Pairs finished by an earlier run.
    reasons : dict of str to list of str
        The names of the rejected pairs by reason, most frequent reason first; see
        `records.rejected_by_reason`.
    warned : list of str
        Names of accepted pairs with a warning.
    unpaired_phone, unpaired_dslr : int
        Photos without a partner.
    residual_median : float or None
        Median of the accepted pairs' median residuals, in phone px.
    """

    output: Path
    pairs: int
    accepted: int
    rejected: int
    reused: int
    reasons: dict[str, list[str]]
    warned: list[str]
    unpaired_phone: int
    unpaired_dslr: int
    residual_median: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**self.__dict__, "output": str(self.output)}

    def as_text(self) -> str:
        """A short summary in words."""
        lines = [f"{self.accepted} of {self.pairs} pairs aligned -> {self.output}"]
        if self.residual_median is not None:
            lines[0] += f" (median residual {self.residual_median:.2f} px)"
        if self.reused:
            lines.append(f"{self.reused} of them were done by an earlier run")
        for reason, names in self.reasons.items():
            lines.append(f"{len(names)} rejected: {reason} ({some(names)})")
        if self.warned:
            lines.append(f"please check: {some(self.warned)} (see the warnings in {PAIRS})")
        if self.unpaired_phone or self.unpaired_dslr:
            lines.append(
                f"without a partner: {counted(self.unpaired_phone, 'phone photo')}, "
                f"{counted(self.unpaired_dslr, 'DSLR photo')}"
            )
        return "\n".join(lines)


@lock.until_end()
def align_folders(
    phone_folder: str | Path,
    dslr_folder: str | Path,
    output: str | Path,
    config: AlignConfig | None = None,
    *,
    jobs: int = 0,
    overwrite: bool = False,
) -> AlignSummary:
    """Align all pairs of photos of two folders.

    Writes `dataset.json`, `pairs.jsonl` and the images of the accepted pairs. The same call resumes
    an interrupted run; pairs whose photos have changed are aligned again.

    Parameters
    ----------
    phone_folder, dslr_folder : str or Path
        `config.pair_by` determines which photos form a pair.
    output : str or Path
    config : AlignFoldersConfig or AlignConfig, optional
    jobs : int
        Worker processes; 0 uses every available core. The result does not depend on it.
    overwrite : bool
        Replace the results of an earlier run with other settings.

    Raises
    ------
    DpedkitError
        If there is nothing to pair, or the output folder is in use for something else.
    TooManyRejectedError
        After everything is written, if more pairs were rejected than `config.max_rejected` allows.
    """
    phone_folder, dslr_folder, output = Path(phone_folder), Path(dslr_folder), Path(output)
    config = AlignFoldersConfig.of(config)
    pairing = pair_photos(phone_folder, dslr_folder, config)
    tell(pairing)
    names_of_pairs = [name for name, _, _ in pairing.pairs]
    given = config.files().get("decisions")
    decisions = (
        kept_decisions(output, names_of_pairs)
        if given is None
        else read_decisions(given, names_of_pairs)
    )
    folder = prepare(
        output,
        kind="aligned",
        description_name="dataset.json",
        format_version=ALIGNED_FORMAT,
        config=config,
        inputs={"phone": str(phone_folder.resolve()), "dslr": str(dslr_folder.resolve())},
        overwrite=overwrite,
        kept=(KEPT_DECISIONS,),
    )
    keep_decisions(output, decisions)
    tasks = [_Task(index, *pair, output) for index, pair in enumerate(pairing.pairs)]
    earlier = _earlier(folder)
    by_hand = decided(decisions, pairing.pairs, earlier)
    unsure = [task for task in tasks if task.name not in by_hand]
    finished = _finished(earlier, unsure, config, _recorded_ns(folder))
    known = finished | by_hand
    todo = [task for task in tasks if task.name not in known]
    names = {task.name for task in tasks}
    strays = _strays(output / THUMBNAILS, names)
    for side in _SIDES:
        strays += _strays(output / side, names - by_hand.keys())
    if folder.complete and (todo or by_hand or strays or earlier.keys() != names):
        folder.reopen(adding=bool(todo))
    for path in strays:
        path.unlink()
    if not todo:
        console.say(f"align: all {len(tasks)} pairs are already aligned")
    records = known | _align(todo, config, output, jobs, len(tasks), known)
    ordered = [records[task.name] for task in tasks]
    write_image_list(output, ordered, config)
    summary = _finish(folder, pairing, ordered, len(finished))
    _refuse_too_many(summary, config)
    return summary


@dataclass(frozen=True)
class _Task:
    index: int
    name: str
    phone: Path
    dslr: Path
    output: Path

    def image(self, side: str, config: AlignFoldersConfig) -> Path:
        return self.output / side / f"{self.name}.{config.image_format}"

    @property
    def thumbnail(self) -> Path:
        return self.output / THUMBNAILS / f"{self.name}.jpg"

    def has_images(self, config: AlignFoldersConfig) -> bool:
        return all(self.image(side, config).exists() for side in _SIDES)


def _align(
    todo: list[_Task],
    config: AlignFoldersConfig,
    output: Path,
    jobs: int,
    total: int,
    finished: dict[str, PairRecord],
) -> dict[str, PairRecord]:
    """Align the remaining pairs; each record is saved before the next result is awaited."""
    for folder in (*_SIDES, THUMBNAILS) if config.images else (THUMBNAILS,):
        make_folder(output / folder)
    records: dict[str, PairRecord] = {}
    accepted = sum(record.accepted for record in finished.values())
    with (
        Journal(output / _JOURNAL) as journal,
        console.progress("align", total, "pairs", done=len(finished)) as bar,
    ):
        for record in ordered_map(partial(_align_one, config), todo, jobs, lost=_lost):
            journal.append(record.to_dict())
            records[record.name] = record
            accepted += record.accepted
            if not record.accepted:
                console.detail(f"{record.name}: rejected, {record.reason}")
            rejected = len(finished) + len(records) - accepted
            bar.advance(note=f"{accepted} aligned, {rejected} rejected")
    return records


def _align_one(config: AlignFoldersConfig, task: _Task) -> PairRecord:
    """Read, align and write one pair; if a photo cannot be read, the pair is rejected."""
    from dpedkit.align.pair import Alignment, Clock, align_pair, find_alignment

    clock = Clock()
    try:
        phone, dslr = _Photo(task.phone), _Photo(task.dslr)
    except FileNotFoundError as error:
        return _lost(task, f"{error.filename} was there when the run began, and is gone")
    try:
        with clock.measuring("read"):
            phone.read(config)
            dslr.read(config)
    except PhotoError as error:
        alignment = Alignment(str(error).rstrip("."))
        task.thumbnail.unlink(missing_ok=True)
    else:
        align = align_pair if config.images else find_alignment
        alignment = align(phone.pixels, dslr.pixels, config)
        with clock.measuring("write"):
            write_thumbnail(task.thumbnail, phone.pixels, dslr.pixels)
    written = {}
    with clock.measuring("write"):
        for side, image in zip(_SIDES, (alignment.phone, alignment.dslr), strict=True):
            if image is None:
                task.image(side, config).unlink(missing_ok=True)
            else:
                write_photo(task.image(side, config), image)
                written[side] = WrittenFile.of(task.image(side, config))
    return PairRecord(
        task.index,
        task.name,
        ACCEPTED if alignment.accepted else REJECTED,
        alignment.reason,
        phone.source,
        dslr.source,
        alignment.crop,
        alignment.map.to_dict() if alignment.map else {},
        alignment.evidence,
        {**clock.seconds, **alignment.seconds},
        alignment.warnings,
        written,
    )


def _lost(task: _Task, cause: str) -> PairRecord:
    """The record of a pair that could not be tried; the next run tries it again."""
    # Nothing is said of their state, so that the next run takes them for changed.
    phone = SourcePhoto(str(task.phone.absolute()), 0, 0)
    dslr = SourcePhoto(str(task.dslr.absolute()), 0, 0)
    return PairRecord(task.index, task.name, REJECTED, f"{_LOST}: {cause}", phone, dslr)


class _Photo:
    """An original photo and, once read, its pixels."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = SourcePhoto.of(path)
        self.pixels: NDArray[np.uint8]

    def read(self, limits: PhotoLimits) -> None:
        self.pixels, metadata = read_photo_and_metadata(self.path, limits)
        height, width = self.pixels.shape[:2]
        self.source = replace(
            self.source,
            width=width,
            height=height,
            camera=metadata.camera,
            conversion=metadata.conversion,
        )


def _earlier(folder: WorkFolder) -> dict[str, PairRecord]:
    """The records of an earlier run, by pair name."""
    found: dict[str, PairRecord] = {}
    for path in (folder.path / PAIRS, folder.path / _JOURNAL):
        if folder.resumed and path.exists():
            records = [PairRecord.from_dict(values, path) for values in read_jsonl(path)]
            found.update({record.name: record for record in records})
    return found


def _recorded_ns(folder: WorkFolder) -> int:
    """When the earlier run last recorded a pair; images changed later are checked."""
    files = (folder.path / PAIRS, folder.path / _JOURNAL)
    return min((path.stat().st_mtime_ns for path in files if path.exists()), default=0)


def _finished(
    earlier: dict[str, PairRecord],
    tasks: list[_Task],
    config: AlignFoldersConfig,
    recorded_ns: int,
) -> dict[str, PairRecord]:
    """Records of an earlier run that are still valid: same photos, same images."""
    finished = {}
    for task in tasks:
        record = earlier.get(task.name)
        if record is None or not _holds(record, task, config, recorded_ns):
            continue
        finished[task.name] = replace(record, index=task.index)
    return finished


def _holds(record: PairRecord, task: _Task, config: AlignFoldersConfig, recorded_ns: int) -> bool:
    if record.reason.startswith(_LOST):
        return False
    if record.rejected_by_hand or not record.made_from(task.phone, task.dslr):
        return False
    if not (record.accepted and config.images):
        return True
    if not record.files:  # by an earlier version
        return task.has_images(config)
    images = {side: task.image(side, config) for side in _SIDES}
    sound = all(record.files[side].is_still(path, recorded_ns) for side, path in images.items())
    if not sound and any(path.exists() for path in images.values()):
        console.say(f"{task.name}: the aligned images are damaged, so the pair is aligned again")
    return sound


def _strays(folder: Path, names: set[str]) -> list[Path]:
    """Images of pairs that no longer exist, and incomplete files of a killed run."""
    found = folder.iterdir() if folder.is_dir() else ()
    return [
        path
        for path in found
        if path.stem not in names and not path.is_dir()  # as file servers leave them
    ]


def _finish(
    folder: WorkFolder, pairing: Pairing, records: list[PairRecord], reused: int
) -> AlignSummary:
    """Write the manifest in pair order, then mark the folder as complete."""
    rejected = [record for record in records if not record.accepted]
    accepted = [record for record in records if record.accepted]
    residuals = sorted(record.evidence["residual_median"] for record in accepted)
    summary = AlignSummary(
        folder.path,
        len(records),
        len(accepted),
        len(rejected),
        reused,
        dict(rejected_by_reason(records)),
        [record.name for record in accepted if record.warnings],
        len(pairing.unpaired_phone),
        len(pairing.unpaired_dslr),
        residuals[len(residuals) // 2] if residuals else None,
    )
    write_jsonl(folder.path / PAIRS, (record.to_dict() for record in records))
    counts = Counter(record.status for record in records)
    folder.finish(
        counts={
            "pairs": len(records),
            ACCEPTED: counts[ACCEPTED],
            REJECTED: counts[REJECTED],
            "unpaired_phone": summary.unpaired_phone,
            "unpaired_dslr": summary.unpaired_dslr,
        }
    )
    (folder.path / _JOURNAL).unlink(missing_ok=True)
    return summary


def _refuse_too_many(summary: AlignSummary, config: AlignFoldersConfig) -> None:
    by_hand = sum(
        len(names) for reason, names in summary.reasons.items() if reason.startswith(BY_HAND)
    )
    if summary.accepted and summary.rejected - by_hand <= config.max_rejected * summary.pairs:
        return
    raise TooManyRejectedError(
        f"{summary.rejected} of {summary.pairs} pairs were rejected (limit: "
        f"{config.max_rejected:.0%}, --max-rejected); {summary.accepted} are in {summary.output}. "
        f"Most frequent reason: {next(iter(summary.reasons))}.",
        summary,
    )
