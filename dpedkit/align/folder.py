"""`align_folders`: align all pairs of two folders, in parallel, resumable at any time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpedkit.align.config import AlignConfig, AlignFoldersConfig
from dpedkit.align.decisions import (
    KEPT_DECISIONS,
    Decision,
    accept_by_hand,
    decided,
    keep_decisions,
    kept_decisions,
    read_decisions,
)
from dpedkit.align.ledger import Entry, Ledger
from dpedkit.align.resuming import LOST, SIDES, Finished, finished_pairs, strays
from dpedkit.align.sidecars import has_image_list, write_image_list, write_thumbnail
from dpedkit.core import console, lock
from dpedkit.core.atomic import make_folder
from dpedkit.core.details import DETAILS, SAMPLES, PairDetails, details_file
from dpedkit.core.errors import PhotoError, TooManyRejectedError
from dpedkit.core.parallel import ordered_map
from dpedkit.core.records import (
    ACCEPTED,
    ALIGNED_FORMAT,
    BY_HAND,
    PHONE_THUMBNAILS,
    REJECTED,
    THUMBNAILS,
    PairRecord,
    SourcePhoto,
    WrittenFile,
    phone_thumbnail,
    rejected_by_reason,
)
from dpedkit.core.wording import counted, some
from dpedkit.core.workfolder import WorkFolder, prepare
from dpedkit.images import (
    PhotoLimits,
    describe_shooting,
    make_thumbnail,
    read_photo_and_metadata,
    write_photo,
)
from dpedkit.pairing.pairing import Pairing
from dpedkit.pairing.ways import pair_photos
from dpedkit.pairing.words import tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dpedkit.align.pair import Alignment


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
    accepted_by_hand : list of str
        Names of the pairs that were accepted because of a decision.
    warned : list of str
        Names of accepted pairs with a warning.
    first_warning : str
        The first warning of the first of them; empty if there is none.
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
    accepted_by_hand: list[str]
    warned: list[str]
    first_warning: str
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
        if self.accepted_by_hand:
            names = self.accepted_by_hand
            lines.append(f"{len(names)} accepted by hand ({some(names)})")
        if self.warned:
            lines.append(
                f"please check {counted(len(self.warned), 'pair')} with a warning "
                f"({some(self.warned)}); the first: {self.first_warning}"
            )
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
    names = [name for name, _, _ in pairing.pairs]
    given = config.files().get("decisions")
    decisions = kept_decisions(output, names) if given is None else read_decisions(given, names)
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
    with Ledger(output) as ledger:
        summary = _resume(folder, pairing, decisions, ledger, config, jobs)
    _refuse_too_many(summary, config)
    return summary


def _resume(
    folder: WorkFolder,
    pairing: Pairing,
    decisions: dict[str, Decision],
    ledger: Ledger,
    config: AlignFoldersConfig,
    jobs: int,
) -> AlignSummary:
    """Do what is left to do; where nothing is, no file is touched."""
    names = [name for name, _, _ in pairing.pairs]
    accepted = {name: decision.note for name, decision in decisions.items() if decision.accepted}
    rejected = decisions.keys() - accepted.keys()
    unsure = {name: (phone, dslr) for name, phone, dslr in pairing.pairs if name not in rejected}
    finished = finished_pairs(ledger, unsure, decisions, folder.path, config.suffix)
    by_hand = decided(decisions, pairing.pairs, ledger.get)
    redecided = [record for record in by_hand.values() if record != ledger.get(record.name)]
    known = finished.names | by_hand.keys()
    todo = [
        _Task(index, *pair, folder.path, accepted.get(pair[0]))
        for index, pair in enumerate(pairing.pairs)
        if pair[0] not in known
    ]
    left_over = strays(folder.path, set(names), by_hand)
    settled = not (todo or redecided or left_over) and ledger.is_settled(names)
    if folder.complete and not settled:
        folder.reopen(adding=bool(todo))
    for path in left_over:
        path.unlink()
    for record in redecided:
        ledger.append(record)
    if not todo:
        console.say(f"align: all {len(names)} pairs are already aligned")
    _align(todo, config, folder.path, jobs, ledger, [ledger[name] for name in known])
    for name in names:
        if name in accepted and not ledger[name].accepted:
            console.warn(f"{name} stays rejected: {ledger[name].reason}.")
    summary = _summary(folder.path, pairing, [ledger[name] for name in names], finished)
    listed = has_image_list(folder.path, config)
    if not (folder.complete and settled and listed) or finished.looked:
        write_image_list(folder.path, ledger.records(names), config)
        ledger.settle(names)
    _finish(folder, summary)
    ledger.drop_journal()
    return summary


@dataclass(frozen=True)
class _Task:
    index: int
    name: str
    phone: Path
    dslr: Path
    output: Path
    accepted_note: str | None = None  # of a person who accepted it

    def image(self, side: str, config: AlignFoldersConfig) -> Path:
        return self.output / side / f"{self.name}.{config.image_format}"

    @property
    def thumbnail(self) -> Path:
        return self.output / THUMBNAILS / f"{self.name}.jpg"


def _align(
    todo: list[_Task],
    config: AlignFoldersConfig,
    output: Path,
    jobs: int,
    ledger: Ledger,
    known: list[Entry],
) -> None:
    """Align the pairs that are left, each written down before the next is waited for."""
    for folder in (*(SIDES if config.images else ()), DETAILS, PHONE_THUMBNAILS, THUMBNAILS):
        make_folder(output / folder)
    done, accepted = len(known), sum(entry.accepted for entry in known)
    with console.progress("align", done + len(todo), "pairs", done=done) as bar:
        for record in ordered_map(partial(_align_one, config), todo, jobs, lost=_lost):
            ledger.append(record)
            done += 1
            accepted += record.accepted
            if not record.accepted:
                console.detail(f"{record.name}: rejected, {record.reason}")
            bar.advance(note=f"{accepted} aligned, {done - accepted} rejected")


def _align_one(config: AlignFoldersConfig, task: _Task) -> PairRecord:
    """Read, align and write one pair; if a photo cannot be read, the pair is rejected."""
    from dpedkit.align.pair import Alignment, Clock, align_pair, find_alignment, with_images
    from dpedkit.align.tones import tone_curves

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
    if task.accepted_note is not None and not alignment.accepted:
        alignment = accept_by_hand(alignment, task.accepted_note)
        if alignment.accepted and config.images:
            alignment = with_images(alignment, phone.pixels, dslr.pixels)
    with clock.measuring("write"):
        tones: list[list[int]] = []
        if alignment.accepted and alignment.map is not None:
            tones = tone_curves(phone.pixels, dslr.pixels, alignment.map, alignment.crop)
        written = _write_details(task, alignment, tones)
        for side, image in zip(SIDES, (alignment.phone, alignment.dslr), strict=True):
            if image is None:
                task.image(side, config).unlink(missing_ok=True)
            else:
                write_photo(task.image(side, config), image)
                written[side] = WrittenFile.of(task.image(side, config))
        small = phone_thumbnail(task.output, task.name)
        if alignment.accepted:
            write_photo(small, make_thumbnail(phone.pixels))
            written[PHONE_THUMBNAILS] = WrittenFile.of(small)
        else:
            small.unlink(missing_ok=True)
    return PairRecord(
        task.index,
        task.name,
        ACCEPTED if alignment.accepted else REJECTED,
        alignment.reason,
        phone.source,
        dslr.source,
        alignment.crop,
        evidence={name: value for name, value in alignment.evidence.items() if name not in SAMPLES},
        seconds={**clock.seconds, **alignment.seconds},
        warnings=alignment.warnings,
        files=written,
    )


def _write_details(
    task: _Task, alignment: Alignment, tones: list[list[int]]
) -> dict[str, WrittenFile]:
    """Write what is not for the record; nothing is known of photos that cannot be read."""
    file = details_file(task.output, task.name)
    samples = (alignment.evidence.get(name, []) for name in SAMPLES)
    found = alignment.map.to_dict() if alignment.map else {}
    details = replace(PairDetails(found, *samples), tones=tones)
    if details == PairDetails():
        file.unlink(missing_ok=True)
        return {}
    return {DETAILS: details.write(file)}


def _lost(task: _Task, cause: str) -> PairRecord:
    """The record of a pair that could not be tried; the next run tries it again."""
    # Nothing is said of their state, so that the next run takes them for changed.
    phone = SourcePhoto(str(task.phone.absolute()), 0, 0)
    dslr = SourcePhoto(str(task.dslr.absolute()), 0, 0)
    return PairRecord(task.index, task.name, REJECTED, f"{LOST}: {cause}", phone, dslr)


class _Photo:
    """An original photo and, once read, its pixels."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = SourcePhoto.of(path)
        self.pixels: NDArray[np.uint8]

    def read(self, limits: PhotoLimits) -> None:
        self.pixels, metadata = read_photo_and_metadata(self.path, limits)
        height, width = self.pixels.shape[:2]
        lens, exposure = describe_shooting(metadata.exif)
        self.source = replace(
            self.source,
            width=width,
            height=height,
            camera=metadata.camera,
            conversion=metadata.conversion,
            lens=lens,
            exposure=exposure,
        )


def _summary(
    output: Path, pairing: Pairing, entries: list[Entry], finished: Finished
) -> AlignSummary:
    accepted = [entry for entry in entries if entry.accepted]
    warned = [entry for entry in accepted if entry.warning]
    residuals = sorted(entry.residual for entry in accepted if entry.residual is not None)
    return AlignSummary(
        output,
        len(entries),
        len(accepted),
        len(entries) - len(accepted),
        len(finished.names),
        dict(rejected_by_reason(entries)),
        [entry.name for entry in accepted if entry.accepted_by_hand],
        [entry.name for entry in warned],
        warned[0].warning if warned else "",
        len(pairing.unpaired_phone),
        len(pairing.unpaired_dslr),
        residuals[len(residuals) // 2] if residuals else None,
    )


def _finish(folder: WorkFolder, summary: AlignSummary) -> None:
    """Say that the folder is complete."""
    folder.finish(
        counts={
            "pairs": summary.pairs,
            ACCEPTED: summary.accepted,
            REJECTED: summary.rejected,
            "unpaired_phone": summary.unpaired_phone,
            "unpaired_dslr": summary.unpaired_dslr,
        }
    )


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
