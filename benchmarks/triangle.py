"""Whether three alignments of one scene agree: two phone photos and one DSLR photo.

Two folders of phone photos were aligned with the same DSLR photos. The two phone photos of a scene
are aligned with each other as well; going from the first to the second and from there to the DSLR
photo must end where going straight to the DSLR photo ends. The distance holds the errors of all
three maps, so it bounds each of them, on real photos, without any truth.

    dpedkit align near dslr -o aligned-near
    dpedkit align far dslr -o aligned-far
    python benchmarks/triangle.py aligned-near aligned-far
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpedkit.align.config import AlignConfig
from dpedkit.align.pair import find_alignment
from dpedkit.core.details import PairDetails
from dpedkit.core.manifest import read_jsonl
from dpedkit.core.parallel import ordered_map
from dpedkit.core.records import PairRecord
from dpedkit.geometry import PairMap, grid_points
from dpedkit.images import read_photo

GRID = 60, 45


def accepted(folder: Path) -> dict[str, PairRecord]:
    """The accepted pairs of an aligned folder with their maps, by the DSLR photo's file."""
    file = folder / "pairs.jsonl"
    records = (PairRecord.from_dict(values, file) for values in read_jsonl(file))
    return {
        record.dslr.file: replace(record, map=PairDetails.of(folder, record).map)
        for record in records
        if record.accepted
    }


def distances(pair: tuple[PairRecord, PairRecord]) -> NDArray[np.float64]:
    """Distance of the two ways over a grid of what all three photos show, in DSLR px."""
    first, second = pair
    photos = (read_photo(Path(record.phone.file)) for record in pair)
    between = find_alignment(*photos, AlignConfig())
    if not between.accepted:
        return np.full(1, np.inf)
    assert between.map is not None
    to_dslr, second_to_dslr = (PairMap.from_dict(record.map) for record in pair)
    x, y, width, height = first.crop
    points = grid_points(
        np.linspace(x, x + width - 1, GRID[0]), np.linspace(y, y + height - 1, GRID[1])
    )
    there = between.map(points)
    x, y, width, height = second.crop
    shown = ((there >= (x, y)) & (there <= (x + width - 1, y + height - 1))).all(axis=1)
    return np.linalg.norm(to_dslr(points[shown]) - second_to_dslr(there[shown]), axis=1)


def main() -> None:
    """Measure all scenes that both folders have, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("first", type=Path, help="aligned folder")
    parser.add_argument("second", type=Path, help="aligned folder with the same DSLR photos")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    first, second = accepted(options.first), accepted(options.second)
    pairs = [(first[file], second[file]) for file in sorted(first.keys() & second.keys())]
    found = list(ordered_map(distances, pairs, options.jobs))
    whole = np.concatenate(found)
    scenes = np.array([np.median(one) for one in found])
    print(
        f"{len(pairs)} scenes: median {np.median(whole):.3f} px of the DSLR photo, p95 "
        f"{np.percentile(whole, 95):.3f}; median of the worst scene {scenes.max():.3f}"
    )


if __name__ == "__main__":
    main()
