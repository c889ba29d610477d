"""What a folder of many pairs costs: to make, to resume when it is finished, and to show.

    python benchmarks/scale.py [--pairs 2000 20000 100000]

For each number of pairs a folder is made by `align_folders` itself, in which only the work on the
pixels is replaced: the files of a pair are links to those of one pair. So all that grows with the
number of pairs is measured: listing and pairing, the records, the journal, the report. Counted are

- for the run that makes the folder, in one process: the milliseconds that the pairs around the 20th
  take, and those around the 2,000th; the growth of its memory from one tenth of the pairs to all;
- for `dpedkit align` given again, and `dpedkit patches` given again on the same folder, each in a
  process of its own: seconds of processor time, and the peak of its memory;
- for `dpedkit report` of the folder: the same, and the size of the page.

Of the patches only the first pairs have any; the others are recorded as pairs that kept none.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from dpedkit.align import folder as align_folder
from dpedkit.align.config import AlignFoldersConfig
from dpedkit.core.console import QUIET, set_verbosity, table
from dpedkit.core.details import DETAILS, PairDetails, details_file
from dpedkit.core.records import ACCEPTED, THUMBNAILS, PairRecord, SourcePhoto, WrittenFile
from dpedkit.geometry import PairMap
from dpedkit.patches import driver as patches_driver
from dpedkit.patches.config import PatchConfig
from dpedkit.surfaces import NOT_FOUND, NOWHERE, ON_EDGE, Surfaces

_SIDES = ("phone", "dslr")
_LINKS = 30_000  # of one file; ext4 allows 65,000
_PIXELS = (160, 120)
_SIZE = (4032, 3024)  # px, of the photos that the records tell of
_CUT = 12  # pairs that have patches
_NEAR = 10  # pairs before and after the 20th, and the 2,000th


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[2000, 20_000, 100_000])
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        print(json.dumps(make(Path(arguments.make[0]), int(arguments.make[1]))))
        return
    made, again = [], []
    for pairs in arguments.pairs:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            found = json.loads(output_of(folder, __file__, "--make", scratch, str(pairs)))
            made.append((f"{pairs:,}", *(f"{found[key]:.2f}" for key in ("20th", "2000th", "kB"))))
            again.append((f"{pairs:,}", *resumed(folder)))
    print(table(("pairs", "20th pair, ms", "2,000th, ms", "memory, kB a pair"), made) + "\n")
    print(table(("pairs", "align again", "patches again", "report", "page"), again))


def resumed(folder: Path) -> tuple[str, ...]:
    """What commands cost on finished folders: writing the report, then with nothing to do."""
    align = ("align", "raw/phone", "raw/dslr", "-o", "aligned")
    patches = ("patches", "aligned", "-o", "shards")
    report = costs_of(folder, ("report", "aligned"))
    page = (folder / "aligned" / "report" / "index.html").stat().st_size / 1e6
    again = costs_of(folder, align)
    costs_of(folder, patches)  # writes the report of the shards
    costs = (again, costs_of(folder, patches), report)
    return (*(f"{seconds:.2f} s, {peak:.0f} MB" for seconds, peak in costs), f"{page:.1f} MB")


def costs_of(folder: Path, command: tuple[str, ...]) -> tuple[float, float]:
    """Seconds of processor time of a command of dpedkit, and its peak of memory in MB."""
    words = [sys.executable, "-m", "dpedkit", *command, "-q"]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"dpedkit {' '.join(command)} failed"
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def output_of(folder: Path, *words: str) -> str:
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


# ----------------------------------------------------------------------- making, in its own process


def make(folder: Path, pairs: int) -> dict[str, float]:
    """Make `raw`, `aligned` and `shards` in a folder; what the run that aligns costs."""
    set_verbosity(QUIET)
    os.chdir(folder)
    stock = Stock(folder)
    for side in _SIDES:
        (folder / "raw" / side).mkdir(parents=True)
        for number in range(pairs):
            stock.link(side, number, folder / "raw" / side / f"IMG_{number:06d}.png")
    times, memory = [], []

    def aligned(config: AlignFoldersConfig, task: Any) -> PairRecord:
        times.append(time.perf_counter())
        memory.append(resident())
        return stock.record(task)

    config = AlignFoldersConfig()
    raw, output = folder / "raw", folder / "aligned"
    with patch.object(align_folder, "_align_one", aligned):
        align_folder.align_folders(raw / "phone", raw / "dslr", output, config, jobs=1)
    with patch.object(patches_driver, "_cut_pair", Cutter(patches_driver._cut_pair)):
        patches_driver.cut_patches(output, folder / "shards", PatchConfig(), jobs=1)
    first = pairs // 10
    return {
        "20th": around(times, 20),
        "2000th": around(times, min(2000, pairs - _NEAR - 1)),
        "kB": (memory[-1] - memory[first]) / 1e3 / (pairs - 1 - first),
    }


class Cutter:
    """Cuts the first pairs, and records of all others that nothing was kept."""

    def __init__(self, cut: Any) -> None:
        self.cut = cut

    def __call__(self, photos: Any, stage: Path, config: Any, item: Any) -> dict[str, Any]:
        if item[0] < _CUT:
            self.last: dict[str, Any] = self.cut(photos, stage, config, item)
            return self.last
        nothing = {"tried": 1, "kept": 0, "dropped": {"low NCC": 1}}
        return {**self.last, **patches_driver._begin(item[1]), **nothing}


class Stock:
    """The files of one pair, to be linked to, and its record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stock"
        self.folder.mkdir()
        rng = np.random.default_rng(0)
        small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8))
        for side in _SIDES:
            small.resize(_PIXELS, Image.Resampling.BICUBIC).save(self.folder / side, "png")
        small.resize((80, 60)).save(self.folder / "thumbnail", "jpeg")
        self.details = details(rng).write(self.folder / "details")
        self.images = {side: WrittenFile.of(self.folder / side) for side in _SIDES}

    def link(self, kind: str, number: int, path: Path) -> None:
        """Link a file of the stock, or rather one of some copies, since links are limited."""
        source = self.folder / f"{kind}.{number // _LINKS}"
        if not source.exists():
            shutil.copy2(self.folder / kind, source)
        path.unlink(missing_ok=True)
        os.link(source, path)

    def record(self, task: Any) -> PairRecord:
        """What the alignment of a pair leaves."""
        files = {
            "aligned-phone": task.output / "phone" / f"{task.name}.png",
            "aligned-dslr": task.output / "dslr" / f"{task.name}.png",
            "details": details_file(task.output, task.name),
            "thumbnail": task.output / THUMBNAILS / f"{task.name}.jpg",
        }
        for kind, path in files.items():
            self.link(kind.removeprefix("aligned-"), task.index, path)
        camera, conversion = "Apple iPhone 12 Pro", "Display P3 to sRGB"
        phone, dslr = (
            SourcePhoto(photo.file, photo.size, photo.mtime_ns, *_SIZE, camera, conversion)
            for photo in map(SourcePhoto.of, (task.phone, task.dslr))
        )
        steps = ("read", "coarse", "refine", "depth", "verdict", "crop", "resample", "write")
        return PairRecord(
            task.index,
            task.name,
            ACCEPTED,
            "",
            phone,
            dslr,
            (0, 0, *(_PIXELS if task.index < _CUT else _SIZE)),
            evidence=EVIDENCE,
            seconds=dict.fromkeys(steps, 0.123456789),
            files={DETAILS: self.details, **self.images},
        )


EVIDENCE = {
    **{"phone_keypoints": 2000, "dslr_keypoints": 2000, "matches": 812, "inliers": 623},
    **{"matching_mp": 0.15, "model": "surfaces", "surfaces": 3, "textured": 4000},
    **{"verified": 3921, "in_place": 0.9634, "holds": 0.9312, "strong": 210},
    **{"agreement": 0.9912, "coverage": 0.9375, "overlap": 0.8231},
    **{"residual_median": 0.1234, "residual_p95": 0.5678, "error": 0.0432, "ncc": 0.9123},
    **{"second_fit": 0.3412, "phone_blur": 1.1234, "dslr_blur": 0.8765},
}


def details(rng: np.random.Generator) -> PairDetails:
    """As much as of a photo with depth: 76 x 101 cells of three surfaces, with holes."""
    coarse = rng.choice([1, 1, 1, 2, 3, ON_EDGE, NOT_FOUND, NOWHERE], (19, 26))
    labels = np.kron(coarse, np.ones((4, 4), np.uint8)).astype(np.uint8)[:76, :101]
    labels[rng.random(labels.shape) < 0.05] = NOWHERE
    displacement = rng.normal(0, 0.05, (*labels.shape, 2)).cumsum(axis=1)
    pair_map = PairMap(
        np.array([[1.01, 0.001, 5.0], [0.002, 0.99, -7.0], [1e-7, 2e-7, 1.0]]),
        _SIZE,
        _SIZE,
        (0.0123456789, -0.00123456789, 0.000123456789),
        surfaces=Surfaces.of(_SIZE[0] / 101, labels, displacement),
    )
    samples = (np.round(rng.uniform(0, 3000, (count, 4)), 1).tolist() for count in (150, 300))
    matches, residuals = samples
    for row in residuals:
        row[2:] = [round(value / 10_000, 3) for value in row[2:]]
    return PairDetails(pair_map.to_dict(), matches, residuals)


def around(times: list[float], number: int) -> float:
    """The median of the milliseconds that pairs near this one take."""
    steps = np.diff(times[max(0, number - _NEAR) : number + _NEAR + 1])
    return statistics.median(steps) * 1e3


def resident() -> int:
    """Bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
