"""Write patch pairs as single images in the folders of the DPED dataset, for other trainers."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpedkit.core import lock
from dpedkit.core.atomic import complete_or_absent, make_folder
from dpedkit.core.console import progress, say
from dpedkit.core.workfolder import prepare
from dpedkit.images import write_photo
from dpedkit.shards.checksums import check_shards
from dpedkit.shards.config import ExportConfig
from dpedkit.shards.dped import DSLR_FOLDER, SPLIT_FOLDERS
from dpedkit.shards.format import SPLITS
from dpedkit.shards.reader import SplitReader

EXPORT_FORMAT = 1
THUMBNAILS = "thumbnails"
_LIST_HEADER = ("patch", "thumbnail", "x", "y", "width", "height")


@dataclass(frozen=True)
class ExportSummary:
    """Images written: folder and number of patch pairs by split."""

    output: str
    patches: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return asdict(self)

    def as_text(self) -> str:
        """The summary for people."""
        counts = ", ".join(f"{count} {split}" for split, count in self.patches.items())
        return f"{self.output}: patch pairs as images: {counts}"


@lock.until_end()
def export_patches(
    folder: str | Path,
    output: str | Path,
    config: ExportConfig | None = None,
    *,
    overwrite: bool = False,
) -> ExportSummary:
    """Write `output`/PHONE/training_data/{PHONE,canon}/0.jpg ... and the like for val and test.

    With `config.thumbnails`, also `thumbnails/`, a PNG for each photo pair, and `thumbnails.csv`,
    which names the one of each patch. Images that already exist are kept, so that a stopped export
    continues.

    Raises
    ------
    DpedkitError
        If `folder` is damaged or lacks thumbnails that are wanted, `output` holds something else,
        or the disk is full.
    """
    folder, output, config = Path(folder), Path(output), config or ExportConfig()
    index = check_shards(folder, verify=config.verify)
    readers = {split: SplitReader(index, split) for split in SPLITS}
    if config.thumbnails:
        for reader in readers.values():
            reader.require_thumbnails()
    counts = {split: len(reader) for split, reader in readers.items()}
    shards = [entry.sha256 for split in SPLITS for entry in index.shards[split]]
    work = prepare(
        output,
        kind="exported",
        description_name="export.json",
        format_version=EXPORT_FORMAT,
        config=config,
        inputs={"shards": " ".join(sha[:8] for sha in shards)},
        overwrite=overwrite,
    )
    if work.complete:
        say(f"{output} is already complete; nothing to do.")
        return ExportSummary(str(output), counts)
    with progress("export", sum(counts.values()), "patch pairs") as bar:
        for split, reader in readers.items():
            home = output / config.phone / SPLIT_FOLDERS[split]
            sides = [make_folder(home / name) for name in (config.phone, DSLR_FOLDER)]
            for number in range(len(reader)):
                pair = reader.gather([number])
                for side, patches in zip(sides, pair, strict=True):
                    path = side / f"{number}.{config.image}"
                    if not path.exists():
                        write_photo(path, patches[0])
                bar.advance()
            if config.thumbnails:
                _write_thumbnails(home, reader)
    work.finish(patches=counts)
    return ExportSummary(str(output), counts)


def _write_thumbnails(home: Path, reader: SplitReader) -> None:
    """Write the thumbnails of a split, and the list of which belongs to which patch."""
    folder = make_folder(home / THUMBNAILS)
    told: dict[int, tuple[str, ...]] = {}
    for pair in np.unique(reader.pair).tolist():
        (thumbnail,) = reader.thumbnails([pair])
        path = folder / f"{pair}.png"
        if not path.exists():
            write_photo(path, thumbnail.pixels)
        told[pair] = (path.name, *(f"{value:.3f}" for value in thumbnail.crop))
    rows = ((number, *told[pair]) for number, pair in enumerate(reader.pair.tolist()))
    with (
        complete_or_absent(home / f"{THUMBNAILS}.csv") as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([_LIST_HEADER, *rows])
