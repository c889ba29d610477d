"""What the viewer of aligned pairs is given of each pair, packed small."""

from __future__ import annotations

import base64
import functools
import os
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes as quote

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.details import PairDetails
from dpedkit.core.records import THUMBNAILS, PairRecord, SourcePhoto
from dpedkit.report.cells import cells_of
from dpedkit.report.page import jpeg_uri
from dpedkit.surfaces import labels_of

# A page with thousands of pairs must still open at once: what it may carry in all.
_DRAWN_BYTES = 3_000_000  # matches and residuals, 8 bytes each, before base64
_CELLS_BYTES = 1_600_000  # where the maps hold, before base64
_THUMBNAIL_BYTES = 2_000_000  # of the first ones; the others are linked
_DRAWN_EACH = (12, 450)  # matches and residuals of a pair, at least and at most
_RESIDUAL_SHARE = 2 / 3
_RESIDUALS_PACKED = np.array([1.0, 1, 1000, 1000])  # shifts in 1/1000 px, as drawing.js knows

Rows = NDArray[np.float64]  # (N, 4)


class ViewerData:
    """What the viewer needs of each pair, and what the pairs have in common.

    Attributes
    ----------
    folders : dict of str to int
        The folders of the originals, as addresses, and their numbers.
    gear : dict of str to int
        Cameras with their lenses, and their numbers.
    residuals : list of (SourcePhoto, (N, 4) array)
        The phone photo of each accepted pair, and the residuals that are drawn of it.
    """

    def __init__(self, folder: Path, pairs: int) -> None:
        self.folder = folder
        self.thumbnails = _Thumbnails(folder / THUMBNAILS)
        drawn = _drawn_each(pairs)
        self.residuals_each = round(drawn * _RESIDUAL_SHARE)
        self.matches_each = drawn - self.residuals_each
        self.cells_each = _CELLS_BYTES // max(pairs, 1)
        self.folders: dict[str, int] = {}
        self.gear: dict[str, int] = {}
        self.residuals: list[tuple[SourcePhoto, Rows]] = []

    def pair(self, record: PairRecord) -> dict[str, Any]:
        """A pair, JSON-ready."""
        details = PairDetails.of(self.folder, record)
        evidence, photos = record.evidence, (record.phone, record.dslr)
        residuals = _sample(details.residuals, self.residuals_each)
        if record.accepted and len(residuals):
            self.residuals.append((record.phone, residuals))
        return {
            "name": record.name,
            "accepted": record.accepted,
            "reason": record.reason,
            "byHand": record.rejected_by_hand,
            "acceptedByHand": record.accepted_by_hand,
            "hasMap": bool(details.map),
            "note": record.note,
            "warnings": list(record.warnings),
            "thumbnail": self.thumbnails.of(record.name),
            "originals": [self._address(photo.file) for photo in photos],
            "taken": [self._taken(photo) for photo in photos],
            "sizes": [[photo.width, photo.height] for photo in photos],
            "crop": list(record.crop),
            "median": evidence.get("residual_median"),
            "p95": evidence.get("residual_p95"),
            "ncc": evidence.get("ncc"),
            "holds": evidence.get("holds"),
            "in_place": evidence.get("in_place"),
            "verified": evidence.get("verified"),
            "inliers": evidence.get("inliers"),
            "coverage": evidence.get("coverage"),
            "model": evidence.get("model", ""),
            "matches": _packed(_sample(details.inlier_matches, self.matches_each), np.ones(4)),
            "residuals": _packed(residuals, _RESIDUALS_PACKED),
            "cells": _cells(record, details, self.cells_each),
            "tones": base64.b64encode(bytes(chain.from_iterable(details.tones))).decode(),
        }

    def _address(self, file: str) -> tuple[int, str]:
        """A file as the number of its folder and its name, both as they stand in an address."""
        place, name = os.path.split(file)
        folder = _folder_address(place)
        return self.folders.setdefault(folder, len(self.folders)), quote(os.fsencode(name))

    def _taken(self, photo: SourcePhoto) -> tuple[int, str]:
        """The number of its camera with the lens, and the exposure."""
        gear = ", ".join(filter(None, (photo.camera, photo.lens)))
        return self.gear.setdefault(gear, len(self.gear)), photo.exposure


@functools.lru_cache(maxsize=256)
def _folder_address(folder: str) -> str:
    return Path(folder).as_uri().rstrip("/") + "/"


class _Thumbnails:
    """The thumbnails that `align` left: the first ones for the page to carry, the rest linked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        self.room = _THUMBNAIL_BYTES

    def of(self, name: str) -> str | bool:
        """The picture as an address that carries it; True if it is a file, False if none."""
        file = f"{name}.jpg"
        if file not in self.there or self.room <= 0:
            return file in self.there
        content = (self.folder / file).read_bytes()
        self.room -= len(content)
        return jpeg_uri(content)


def _cells(record: PairRecord, details: PairDetails, limit: int) -> dict[str, Any] | None:
    """Where the map holds, in the crop or, where there is none, in the whole photo."""
    values = details.map.get("surfaces")
    if values is None:
        return None
    whole = (0, 0, record.phone.width, record.phone.height)
    return cells_of(*labels_of(values), record.crop if record.crop[2] else whole, limit)


def _drawn_each(pairs: int) -> int:
    """How many matches and residuals of each pair the page can carry."""
    low, high = _DRAWN_EACH
    return min(max(_DRAWN_BYTES // (8 * max(pairs, 1)), low), high)


def _sample(rows: list[list[float]], limit: int) -> Rows:
    """At most `limit` rows, evenly taken."""
    return np.array([rows[number] for number in _evenly(len(rows), limit)], np.float64)


def _packed(rows: Rows, scale: NDArray[np.float64]) -> str:
    """Rows, multiplied by the scale, as base64 of little-endian 16-bit integers."""
    if not len(rows):
        return ""
    # Positions may pass 32767 and wrap around, which drawing.js undoes; shifts never do.
    numbers = np.rint(rows * scale).astype(np.int64).astype("<i2")
    return base64.b64encode(numbers.tobytes()).decode()


@functools.lru_cache(maxsize=256)
def _evenly(count: int, limit: int) -> list[int]:
    if not count:
        return []
    chosen: list[int] = np.linspace(0, count - 1, min(limit, count)).round().astype(int).tolist()
    return chosen
