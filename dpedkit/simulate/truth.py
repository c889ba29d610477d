"""The ground truth of a simulated pair, pixel by pixel: its surfaces, and where photos show them.

truth = Truth.read(Path("raw"), "0001")
dslr_points = truth(phone_points)           # (N, 2), NaN where the DSLR photo shows no such point
displacement = truth.displacement(phone_points)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dpedkit import images
from dpedkit.core import manifest
from dpedkit.core.atomic import complete_or_absent
from dpedkit.core.errors import DpedkitError
from dpedkit.geometry import PairMap, Points
from dpedkit.simulate.layers import OCCLUDED

TRUTH_FILE, LABEL_FOLDER = "truth.jsonl", "truth"

__all__ = ["LABEL_FOLDER", "OCCLUDED", "TRUTH_FILE", "Truth", "surfaces_of", "write_labels"]


@dataclass(frozen=True)
class Truth:
    """Where every point of a phone photo is in the DSLR photo.

    Attributes
    ----------
    surfaces : tuple of PairMap
        Phone pixels to DSLR pixels for each surface of the scene, the farthest first. They share
        lens distortion and field.
    labels : (H, W) array of uint8
        For each pixel of the phone photo the number of the surface that it shows; `OCCLUDED` where
        the DSLR photo does not show that point, or where an edge mixes two surfaces. All 0 for a
        flat scene.
    """

    surfaces: tuple[PairMap, ...]
    labels: NDArray[np.uint8]

    def __call__(self, points: Points) -> Points:
        """DSLR points `(N, 2)` of the phone points `(N, 2)`; NaN where the DSLR shows none."""
        points = np.asarray(points, np.float64)
        numbers = self.surface_at(points)
        mapped = np.full(points.shape, np.nan)
        for number, surface in enumerate(self.surfaces):
            on_it = numbers == number
            mapped[on_it] = surface(points[on_it])
        limit = np.array(self.surfaces[0].dslr_size) - 1
        # NaN compares as False, so that it counts as outside.
        inside = ((mapped >= 0) & (mapped <= limit)).all(axis=1)
        mapped[~inside] = np.nan
        return mapped

    def surface_at(self, points: Points) -> NDArray[np.uint8]:
        """Labels `(N,)` of the pixels nearest to the phone points; `OCCLUDED` outside the photo."""
        height, width = self.labels.shape
        x, y = np.rint(np.asarray(points, np.float64)).T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        numbers = np.full(len(inside), OCCLUDED, np.uint8)
        numbers[inside] = self.labels[y[inside].astype(np.intp), x[inside].astype(np.intp)]
        return numbers

    def displacement(self, points: Points) -> Points:
        """How far what the phone shows at points `(N, 2)` is displaced against the far surface.

        Returns
        -------
        (N, 2) array
            In phone px: the point, less the point where the phone would show the same place of the
            DSLR photo if it were on the farthest surface. NaN where `__call__` is.
        """
        points = np.asarray(points, np.float64)
        mapped = self(points)
        known = np.isfinite(mapped[:, 0])
        displaced = np.full(points.shape, np.nan)
        displaced[known] = points[known] - self.surfaces[0].inverse(mapped[known])
        return displaced

    @classmethod
    def read(cls, folder: Path | str, name: str) -> Self:
        """Read the truth of pair `name` from a folder that `dpedkit simulate` wrote.

        Raises
        ------
        DpedkitError
            If the folder has no such pair, or a file is missing or damaged.
        """
        folder = Path(folder)
        path = folder / TRUTH_FILE
        records = [record for record in manifest.read_jsonl(path) if record.get("name") == name]
        if not records:
            raise DpedkitError(f"{path} has no pair '{name}'.")
        surfaces = surfaces_of(records[0])
        width, height = surfaces[0].phone_size
        if len(surfaces) == 1:
            return cls(surfaces, np.zeros((height, width), np.uint8))
        file = folder / LABEL_FOLDER / f"{name}.png"
        labels = np.ascontiguousarray(images.read_photo(file)[:, :, 0])
        if labels.shape != (height, width):
            raise DpedkitError(
                f"{file} does not belong to this pair: its size is not that of the phone photo."
            )
        return cls(surfaces, labels)


def surfaces_of(record: dict[str, Any]) -> tuple[PairMap, ...]:
    """The surfaces, farthest first, in a line of the truth file or in `Shot.truth`."""
    maps = record.get("surfaces") or [record["map"]]
    return tuple(PairMap.from_dict(values) for values in maps)


def write_labels(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write labels `(H, W) uint8` as a grey PNG, atomically."""
    _, encoded = cv2.imencode(".png", labels)
    with complete_or_absent(path) as part:
        part.write_bytes(encoded.tobytes())
