"""The aligned folder as `patches` reads it: checked, and identified by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dpedkit.errors import DpedkitError
from dpedkit.manifest import read_json, read_jsonl
from dpedkit.records import ALIGNED_FORMAT, PairRecord


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


def content_hash(folder: Path, records: Iterable[PairRecord], description: dict[str, Any]) -> str:
    """A short hash of all that decides the pixels of the aligned photos."""
    digest = hashlib.sha256(json.dumps(description.get("config"), sort_keys=True).encode())
    for record in records:
        sizes = [
            path.stat().st_size if path.is_file() else -1
            for path in photo_files(folder, record.name, image_format(description))
        ]
        content = [record.name, record.crop, record.map, sizes]
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def image_format(description: dict[str, Any]) -> str:
    """The suffix, without its dot, of the images in an aligned folder."""
    return str(description["config"]["image_format"])


def photo_files(folder: Path, name: str, suffix: str) -> tuple[Path, Path]:
    """The aligned phone and DSLR photo of a pair."""
    return folder / "phone" / f"{name}.{suffix}", folder / "dslr" / f"{name}.{suffix}"
