"""Aligned folders with known contents, for tests of what shows them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpedkit.core.atomic import write_json
from dpedkit.core.details import DETAILS, PairDetails, details_file
from dpedkit.core.manifest import write_jsonl
from dpedkit.core.records import (
    ACCEPTED,
    ALIGNED_FORMAT,
    REJECTED,
    THUMBNAILS,
    PairRecord,
    SourcePhoto,
)

WIDTH, HEIGHT = 160, 120
RED, BLUE, WHITE = (200, 40, 30), (20, 60, 180), (255, 255, 255)
MARK = (100, 30)  # x, y of the one white pixel of both images
RESIDUALS = [[40.0, 30.0, 0.4, 0.0], [120.0, 90.0, 0.0, -0.2], [80.0, 60.0, -0.1, 0.1]]
MATCHES = [[10.0, 20.0, 20.0, 40.0], [50.0, 60.0, 110.0, 124.0], [100.0, 90.0, 200.0, 180.0]]


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    """One colour, with a white pixel at `MARK`."""
    image = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    image[MARK[1], MARK[0]] = WHITE
    return image


def write_aligned(folder: Path, accepted: int, reasons: dict[str, str]) -> Path:
    """An aligned folder with its originals beside it.

    Parameters
    ----------
    folder : Path
        `aligned` and `raw` are made in it.
    accepted : int
        Pairs, named 0000 and so on, whose residual grows and whose NCC falls with their number.
        All their images are the same: plain red by the phone, plain blue by the DSLR.
    reasons : dict of str to str
        Rejected pairs and why.
    """
    aligned = folder / "aligned"
    for side, colour in (("phone", RED), ("dslr", BLUE)):
        (aligned / side).mkdir(parents=True)
        (folder / "raw" / side).mkdir(parents=True)
        Image.fromarray(plain(colour)).save(folder / f"{side}.png")
        original = np.kron(plain(colour), np.ones((2, 2, 1), np.uint8)) if side == "dslr" else None
        Image.fromarray(plain(colour) if original is None else original).save(
            folder / f"{side}.original.png"
        )
    (aligned / THUMBNAILS).mkdir(parents=True)
    (aligned / DETAILS).mkdir()
    both = Image.fromarray(np.hstack([plain(RED), plain(BLUE)])).resize((320, 120))
    both.save(folder / "thumbnail.jpg")
    records = []
    names = [f"{number:04d}" for number in range(accepted)]
    for index, name in enumerate([*names, *reasons]):
        good = index < accepted
        for side in ("phone", "dslr"):
            os.link(folder / f"{side}.original.png", folder / "raw" / side / f"{name}.png")
            if good:
                os.link(folder / f"{side}.png", aligned / side / f"{name}.png")
        os.link(folder / "thumbnail.jpg", aligned / THUMBNAILS / f"{name}.jpg")
        details = PairDetails(inlier_matches=MATCHES * 50, residuals=RESIDUALS * 100)
        written = {DETAILS: details.write(details_file(aligned, name))} if good else {}
        records.append(
            PairRecord(
                index,
                name,
                ACCEPTED if good else REJECTED,
                "" if good else reasons[name],
                _source(folder / "raw" / "phone" / f"{name}.png", 1),
                _source(folder / "raw" / "dslr" / f"{name}.png", 2),
                (0, 0, WIDTH, HEIGHT) if good else (0, 0, 0, 0),
                evidence=_evidence(index, accepted) if good else {"inliers": 0},
                files=written,
            )
        )
    write_jsonl(aligned / "pairs.jsonl", (record.to_dict() for record in records))
    write_json(
        aligned / "dataset.json",
        {
            "format": ALIGNED_FORMAT,
            "kind": "aligned",
            "config": {"image_format": "png", "images": True},
            "inputs": {side: str(folder / "raw" / side) for side in ("phone", "dslr")},
            "complete": True,
        },
    )
    return aligned


def change_details(folder: Path, record: dict[str, Any], **changes: object) -> None:
    """Write the details of a pair anew, with these changes, and note that in its record."""
    details = PairDetails.of(folder, PairRecord.from_dict(record, folder))
    written = replace(details, **changes).write(details_file(folder, record["name"]))
    record["files"][DETAILS] = {"size": written.size, "sha256": written.sha256}


def _source(path: Path, factor: int) -> SourcePhoto:
    state = path.stat()
    return SourcePhoto(str(path), state.st_size, state.st_mtime_ns, WIDTH * factor, HEIGHT * factor)


def _evidence(number: int, count: int) -> dict[str, object]:
    share = number / max(count - 1, 1)
    return {
        "inliers": 100 + (number * 7919) % 400,
        "verified": 400 + 10 * number,
        "coverage": 0.9,
        "model": "radial",
        "residual_median": round(0.1 + 0.4 * share, 4),
        "residual_p95": round(0.5 + share, 4),
        "ncc": round(0.98 - 0.2 * share, 4),
    }
