"""Where on the photos patches were kept, and windows that were dropped, as pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.details import PairDetails
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import each_line, read_json
from dpedkit.core.records import PairRecord
from dpedkit.geometry import PairMap
from dpedkit.images import read_photo
from dpedkit.resample import resample_dslr
from dpedkit.shards.reader import SplitReader

_GRID = (30, 40)  # rows and columns of the heat map


def kept_shares(
    readers: list[SplitReader], pairs: list[dict[str, Any]]
) -> tuple[NDArray[np.float64], float]:
    """How often each place of the aligned photos is covered by a patch that was kept.

    Parameters
    ----------
    readers : list of SplitReader
        All splits.
    pairs : list of dict
        The lines of `pairs.jsonl`, with the `crop` that is the size of the aligned photos.

    Returns
    -------
    (rows, columns) array
        Share of the photo pairs in which the cell's centre lies in a patch; photos of any size
        are brought to one.
    float
        Height over width of the photos, the median.
    """
    sizes = np.array([pair["crop"][2:] for pair in pairs], np.float64).reshape(-1, 2)
    rows, columns = _GRID
    covered = np.zeros((rows + 1, columns + 1), np.int64)
    for reader in readers:
        if not len(reader):
            continue
        scale = np.array([columns, rows]) / sizes[reader.pair]
        # Cells whose centres lie in the window, from the first to before the last.
        xy = reader.column("xy")
        first = np.ceil(xy * scale - 0.5).astype(int)
        last = np.ceil((xy + reader.patch_size) * scale - 0.5).astype(int)
        (x0, y0), (x1, y1) = first.clip(0).T, np.minimum(last, [columns, rows]).T
        for y, x, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
            np.add.at(covered, (y, x), sign)
    counts = covered.cumsum(axis=0).cumsum(axis=1)[:rows, :columns]
    used = sum(pair["tried"] > 0 for pair in pairs)
    return counts / max(used, 1), float(np.median(sizes[:, 1] / sizes[:, 0]))


@dataclass(frozen=True)
class DroppedWindow:
    """A window that was dropped: where, why, and its pixels in both aligned photos.

    Attributes
    ----------
    pair, reason : str
    ncc : float or None
        None where it was not computed.
    phone, dslr : (S, S, 3) uint8 array
    """

    pair: str
    reason: str
    ncc: float | None
    phone: NDArray[np.uint8]
    dslr: NDArray[np.uint8]


def dropped_windows(
    aligned: Path, pairs: list[dict[str, Any]], size: int, each: int
) -> list[DroppedWindow]:
    """Up to `each` dropped windows of every reason, from as many photo pairs as can be.

    Photos that are gone from `aligned`, or cannot be read any more, are passed over.
    """
    photos = _AlignedWindows(aligned, size)
    if not photos.there:
        return []
    random = np.random.default_rng(0)
    found: Counter[str] = Counter()
    windows = []
    for number in random.permutation(len(pairs)):
        pair, seen = pairs[number], set()
        for sample in pair.get("dropped_sample", []):
            reason = sample["reason"]
            if found[reason] == each or reason in seen:
                continue
            pixels = photos.read(pair["name"], sample["xy"])
            if pixels is not None:
                seen.add(reason)
                found[reason] += 1
                windows.append(DroppedWindow(pair["name"], reason, sample["ncc"], *pixels))
    return sorted(windows, key=lambda window: window.reason)


class _AlignedWindows:
    """Windows of aligned photos, which may be files or be made from the originals."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.there = (folder / "pairs.jsonl").is_file() and (folder / "dataset.json").is_file()
        if self.there:
            config = read_json(folder / "dataset.json")["config"]
            self.suffix = config["image_format"] if config.get("images", True) else ""

    def read(self, name: str, xy: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        x, y = xy
        area = np.s_[y : y + self.size, x : x + self.size]
        try:
            if self.suffix:
                files = (self.folder / side / f"{name}.{self.suffix}" for side in ("phone", "dslr"))
                phone, dslr = (read_photo(file)[area] for file in files)
            else:
                record = self._records[name]
                left, top = record.crop[:2]
                crop = (left + x, top + y, self.size, self.size)
                original = read_photo(Path(record.phone.file))
                phone = original[crop[1] : crop[1] + self.size, crop[0] : crop[0] + self.size]
                pair_map = PairMap.from_dict(PairDetails.of(self.folder, record).map)
                dslr = resample_dslr(read_photo(Path(record.dslr.file)), pair_map, crop)
        except (DpedkitError, KeyError):
            return None
        whole = (self.size, self.size, 3)
        return (phone, dslr) if phone.shape == dslr.shape == whole else None

    @cached_property
    def _records(self) -> dict[str, PairRecord]:
        file = self.folder / "pairs.jsonl"
        records = (PairRecord.from_dict(values, file) for _, values in each_line(file))
        return {record.name: record for record in records}
