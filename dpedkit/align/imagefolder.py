"""`metadata.jsonl`: aligned pairs as Hugging Face's `load_dataset("imagefolder")` takes them.

Its columns `phone_file_name` and `dslr_file_name` become the image columns `phone` and `dslr`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dpedkit.align.config import AlignFoldersConfig
from dpedkit.core.manifest import write_jsonl
from dpedkit.core.records import PairRecord

IMAGE_LIST = "metadata.jsonl"  # the name that Hugging Face looks for


def write_image_list(
    folder: Path, records: Iterable[PairRecord], config: AlignFoldersConfig
) -> None:
    """Write the list of the accepted pairs' images; there is none where images are not written.

    Raises
    ------
    DpedkitError
        If the folder may not be written to, or the disk is full.
    """
    if not config.images:
        (folder / IMAGE_LIST).unlink(missing_ok=True)
        return
    rows = (_row(record, config.image_format) for record in records if record.accepted)
    write_jsonl(folder / IMAGE_LIST, rows)


def _row(record: PairRecord, suffix: str) -> dict[str, Any]:
    return {
        "phone_file_name": f"phone/{record.name}.{suffix}",
        "dslr_file_name": f"dslr/{record.name}.{suffix}",
        "name": record.name,
        "phone_camera": record.phone.camera,
        "dslr_camera": record.dslr.camera,
        "residual_px": float(record.evidence["residual_median"]),
        "ncc": float(record.evidence["ncc"]),
    }
