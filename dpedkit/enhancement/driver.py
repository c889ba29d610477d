"""Enhances photos and folders of photos, keeping what their files say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dpedkit import images
from dpedkit.core import console, lock, manifest
from dpedkit.core.atomic import remove_unfinished
from dpedkit.core.errors import (
    OutputExistsError,
    PhotoError,
    TooManyRejectedError,
    UsageError,
)
from dpedkit.core.wording import counted, some
from dpedkit.enhancement.comparison import before_after
from dpedkit.enhancement.config import EnhanceConfig
from dpedkit.enhancement.network import Enhancer, load_enhancer
from dpedkit.models.files import find_model, model_hash

JOURNAL_FILE = "enhanced.jsonl"
_SHOWN = 6  # names of photos in a sentence
SIDE_BY_SIDE_SUFFIX = "-before-after"
_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


@dataclass(frozen=True)
class EnhanceSummary:
    """What `enhance_photos` did.

    Attributes
    ----------
    folder : Path
    written : tuple of Path
        Enhanced photos, those of an earlier run with the same settings included.
    skipped : int
        How many of them an earlier run had finished.
    failed : tuple of (str, str)
        Photos that could not be enhanced, each with its reason.
    side_by_side : tuple of Path
        The before-after pictures.
    left_over : tuple of Path
        Enhanced photos of earlier runs whose originals are gone. They are kept.
    """

    folder: Path
    written: tuple[Path, ...]
    skipped: int
    failed: tuple[tuple[str, str], ...]
    side_by_side: tuple[Path, ...]
    left_over: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {
            "folder": str(self.folder),
            "written": [str(path) for path in self.written],
            "skipped": self.skipped,
            "failed": [{"photo": photo, "reason": reason} for photo, reason in self.failed],
            "side_by_side": [str(path) for path in self.side_by_side],
            "left_over": [str(path) for path in self.left_over],
        }

    def as_text(self) -> str:
        """A few lines for people."""
        count = len(self.written)
        text = f"{counted(count, 'enhanced photo')} in {self.folder}"
        if self.skipped:
            text += f" ({self.skipped} already there)"
        if self.failed:
            text += f"; {len(self.failed)} could not be enhanced"
        lines = [text, *(f"before and after: {path}" for path in self.side_by_side[:3])]
        if self.left_over:
            names = some((path.name for path in self.left_over), _SHOWN)
            lines.append(f"the originals of {len(self.left_over)} more are gone: {names}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Task:
    """One photo and the files to make from it."""

    photo: Path
    output: Path
    side_by_side: Path | None

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.output, self.side_by_side) if path is not None]


@lock.until_end()
def enhance_photos(
    model_path: str | Path,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    config: EnhanceConfig | None = None,
    *,
    overwrite: bool = False,
) -> EnhanceSummary:
    """Enhance photos and folders of photos into a folder.

    A stopped run is continued: what it finished with the same model and settings is kept. The
    photos themselves are never overwritten.

    Parameters
    ----------
    model_path : str or Path
        A model file, or the folder of a run that holds `model.safetensors`.
    inputs : str, Path or sequence of them
        Photos, and folders whose photos are taken.
    output : str or Path
        The folder for the enhanced photos, which keep their names. They are sRGB with 8 bits,
        upright and without alpha channel; the EXIF data is kept. A photo with a colour profile
        other than sRGB is converted, and an sRGB profile is embedded.
    config : EnhanceConfig, optional
    overwrite : bool
        Replace files of the same names that this command did not make in this way.

    Raises
    ------
    DpedkitError
        If the model or a folder cannot be used, another run works in the folder, a file is in the
        way, the disk is full, or the only photo cannot be read.
    TooManyRejectedError
        If more of several photos than `config.max_failed` cannot be read.
    """
    output, config = Path(output), config or EnhanceConfig()
    photos = [inputs] if isinstance(inputs, str | Path) else inputs
    tasks = _plan(list(map(Path, photos)), output, config)
    model_file = find_model(model_path)
    enhancer = load_enhancer(model_file, config, spill_folder=output)
    made_with = {"model": model_hash(model_file), "settings": config.fingerprint()}
    lock.take(output)
    finished = _finished(output, tasks, made_with)
    left = [task for task in tasks if task not in finished]
    if not overwrite:
        _refuse_what_is_in_the_way(left)
    remove_unfinished(path for task in left for path in task.outputs)
    with manifest.Journal(output / JOURNAL_FILE) as journal:
        failed = _enhance_all(left, enhancer, config, journal, made_with)
    done = [task for task in tasks if task.photo not in failed]
    summary = EnhanceSummary(
        output,
        tuple(task.output for task in done),
        len(finished),
        tuple((str(photo), reason) for photo, reason in failed.items()),
        tuple(task.side_by_side for task in done if task.side_by_side),
        _left_over(output, tasks),
    )
    _fail_beyond_the_limit(summary, config, len(tasks))
    return summary


def _plan(inputs: Sequence[Path], output: Path, config: EnhanceConfig) -> list[_Task]:
    """All photos to enhance and where to; two of them must not end up in one file."""
    if output.is_file():
        raise UsageError(f"{output} is a file; give a folder for the enhanced photos.")
    photos: list[Path] = []
    for path in inputs:
        if path.is_dir() and output.is_dir() and path.samefile(output):
            raise UsageError(
                f"{output} is the folder of the photos themselves; choose another output "
                "folder with -o."
            )
        photos += images.list_photos(path) if path.is_dir() else [path]
    tasks = []
    taken: dict[Path, Path] = {}
    for photo in photos:
        suffix = photo.suffix if photo.suffix.lower() in _KEPT_SUFFIXES else ".png"
        if config.format != "same":
            suffix = f".{config.format}"
        target = output / f"{photo.stem}{suffix}"
        compared = output / f"{photo.stem}{SIDE_BY_SIDE_SUFFIX}.jpg"
        task = _Task(photo, target, compared if config.side_by_side else None)
        for path in task.outputs:
            if path in taken:
                raise UsageError(
                    f"{photo} and {taken[path]} would both be written to {path}; enhance them "
                    "into different folders."
                )
            if path.exists() and photo.exists() and path.samefile(photo):
                raise UsageError(
                    f"{photo} would be overwritten; choose another output folder with -o."
                )
            taken[path] = photo
        tasks.append(task)
    return tasks


def _finished(output: Path, tasks: list[_Task], made_with: dict[str, str]) -> list[_Task]:
    """Tasks that an earlier run finished with the same model and settings, photo unchanged."""
    latest = _latest_records(output)
    return [
        task
        for task in tasks
        if all(path.exists() for path in task.outputs)
        and task.photo.exists()
        and latest.get(task.output.name) == _record(task, made_with)
    ]


def _latest_records(output: Path) -> dict[str, dict[str, Any]]:
    """What the journal of the folder says of each enhanced photo, by its name."""
    file = output / JOURNAL_FILE
    records = manifest.read_jsonl(file) if file.exists() else []
    return {str(record.get("output")): record for record in records}


def _left_over(output: Path, tasks: list[_Task]) -> tuple[Path, ...]:
    """Enhanced photos of earlier runs that are still there, while their originals are not."""
    asked = {task.output.name for task in tasks}
    return tuple(
        output / name
        for name, record in sorted(_latest_records(output).items())
        if name not in asked
        and (output / name).is_file()
        and not Path(str(record.get("photo"))).exists()
    )


def _record(task: _Task, made_with: dict[str, str]) -> dict[str, Any]:
    state = task.photo.stat()
    return {
        "output": task.output.name,
        "photo": str(task.photo.absolute()),
        "size": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        **made_with,
    }


def _refuse_what_is_in_the_way(tasks: list[_Task]) -> None:
    existing = [path for task in tasks for path in task.outputs if path.exists()]
    if existing:
        verbs = "already exists and was" if len(existing) == 1 else "already exist and were"
        raise OutputExistsError(
            f"{some(existing, 1)} {verbs} not made with this model and these settings. Use "
            "--overwrite to replace what is there, or -o to write elsewhere."
        )


def _enhance_all(
    tasks: list[_Task],
    enhancer: Enhancer,
    config: EnhanceConfig,
    journal: manifest.Journal,
    made_with: dict[str, str],
) -> dict[Path, str]:
    """Enhance photo after photo; returns those that could not be, with the reason."""
    failed: dict[Path, str] = {}
    conversions: set[str] = set()
    strips = [_count_strips(enhancer, task.photo) for task in tasks]
    with console.progress("enhance", sum(strips), "strips") as bar:
        for task, expected in zip(tasks, strips, strict=True):
            try:
                photo, metadata = images.read_photo_and_metadata(task.photo, config)
            except PhotoError as error:
                failed[task.photo] = str(error)
                console.warn(str(error))
                bar.advance(expected)
                continue
            name = task.photo.name
            if metadata.converted and metadata.conversion not in conversions:
                conversions.add(metadata.conversion)
                console.say(
                    f"{name}: {metadata.conversion}; the same is done, without a message, for "
                    "others like it"
                )
            enhanced = enhancer(photo, on_strip=partial(bar.advance, note=name))
            try:
                images.write_photo(
                    task.output, enhanced, metadata, jpeg_quality=config.jpeg_quality
                )
                if task.side_by_side is not None:
                    images.write_photo(task.side_by_side, before_after(photo, enhanced))
            except PhotoError as error:
                failed[task.photo] = str(error)
                console.warn(str(error))
                continue
            journal.append(_record(task, made_with))
    return failed


def _count_strips(enhancer: Enhancer, photo: Path) -> int:
    """Strips of a photo by its header; 0 where that cannot be read, which is reported later."""
    try:
        width, height = images.photo_size(photo)
    except PhotoError:
        return 0
    return enhancer.strips(height, width)


def _fail_beyond_the_limit(summary: EnhanceSummary, config: EnhanceConfig, photos: int) -> None:
    if len(summary.failed) <= config.max_failed * photos:
        return
    reason = summary.failed[0][1]
    if photos == 1:
        raise PhotoError(reason)
    raise TooManyRejectedError(
        f"{len(summary.failed)} of {counted(photos, 'photo')} could not be enhanced, more than the "
        f"limit of {config.max_failed:.0%}; the others are in {summary.folder}.",
        summary,
    )
