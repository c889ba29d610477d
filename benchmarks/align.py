"""How fast pairs are aligned by size, beside reading and writing alone, and with how much memory.

Simulated pairs of each size, from real photos, are aligned in turn, from JPEG files to JPEG and to
PNG files, in one process of one thread: seconds of processor time a pair. The floor is what
decoding both photos and encoding both crops takes. Then the pairs of the size compared are aligned
by two workers: seconds of wall time a pair. `./dev bench` compares other methods.

The last row compares `align_pair` as a plain script calls it, with all settings of the process left
alone, with the same call in a worker of `dpedkit align`: seconds of processor time a pair, of all
threads.

    OMP_NUM_THREADS=1 python benchmarks/align.py --photos FOLDER
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from accuracy import Variant, make_pair

from dpedkit.align.config import AlignFoldersConfig
from dpedkit.align.folder import align_folders
from dpedkit.align.pair import align_pair
from dpedkit.core.process import keep_freed_memory, own_process
from dpedkit.images import list_photos, photo_size, read_photo, write_photo

COMPARED_MP = 12
PEAK = """
import sys, cv2
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from align import aligned
from dpedkit.core.process import keep_freed_memory, own_process
cv2.setNumThreads(1)
own_process()
keep_freed_memory()
aligned((Path(sys.argv[2]), Path(sys.argv[3])), Path(sys.argv[4]), "png")
status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory, too
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""

PLAIN_SCRIPT = """
import sys, time
import dpedkit
pairs = [tuple(map(dpedkit.read_photo, pair)) for pair in zip(sys.argv[1::2], sys.argv[2::2])]
align = lambda pair: dpedkit.align_pair(*pair)
"""
IN_TURN = """
align(pairs[0])  # imports and first allocations
started = time.process_time()
for pair in pairs:
    align(pair)
print((time.process_time() - started) / len(pairs))
"""
AS_A_WORKER = """
from dpedkit.core.parallel import ordered_map
from dpedkit.core.process import own_process
own_process()
call, align = align, lambda pair: list(ordered_map(call, [pair], jobs=1))
"""

Files = tuple[Path, Path]


def make_pairs(photos: Path, megapixels: float, count: int, folder: Path) -> list[Files]:
    """JPEG files of pairs: DSLR photos of about `megapixels`, phone photos of three quarters."""
    variant = Variant("speed", k1=0.01, scale=(0.9, 0.94))
    pairs = []
    for number, path in enumerate(list_photos(photos)[:count]):
        scene = read_photo(path)
        height, width = scene.shape[:2]
        factor = np.sqrt(1.25e6 * megapixels / (width * height))
        size = (round(width * factor), round(height * factor))
        pair = make_pair(cv2.resize(scene, size, interpolation=cv2.INTER_CUBIC), variant, number)
        files = folder / "phone" / f"{number}.jpg", folder / "dslr" / f"{number}.jpg"
        for file, image in zip(files, (pair.phone, pair.dslr), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_photo(file, image)
        pairs.append(files)
    return pairs


def aligned(files: Files, output: Path, suffix: str) -> str:
    """Read, align and write a pair; why it was rejected, if so."""
    found = align_pair(*(read_photo(file) for file in files))
    for side, image in (("phone", found.phone), ("dslr", found.dslr)):
        if image is not None:
            write_photo(output / f"{side}.{suffix}", image)
    return found.reason


def copied(files: Files, output: Path) -> None:
    """Read a pair and write it: what no method can do without."""
    width, height = photo_size(files[0])
    for side, file in zip(("phone", "dslr"), files, strict=True):
        # The crops are of one size, that of the phone photo at most.
        write_photo(output / f"{side}.jpg", read_photo(file)[:height, :width])


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor time of all threads of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(pairs: list[Files], output: Path) -> dict[str, float]:
    """Mean seconds a pair for each method, one after the other."""
    methods: dict[str, Callable[[Files], object]] = {
        "floor": partial(copied, output=output),
        "jpg": partial(aligned, output=output, suffix="jpg"),
        "png": partial(aligned, output=output, suffix="png"),
    }
    own_process()
    keep_freed_memory()  # as the workers of `dpedkit align` do
    methods["jpg"](pairs[0])  # imports and first allocations
    return {
        name: float(np.mean([processor_seconds(partial(method, files)) for files in pairs]))
        for name, method in methods.items()
    }


def with_two_workers(pairs: list[Files], output: Path) -> str:
    """Wall seconds a pair, the start of the workers included."""
    folder = pairs[0][0].parents[1]
    started = time.perf_counter()
    config = AlignFoldersConfig(image_format="jpg")
    align_folders(folder / "phone", folder / "dslr", output / "two", config, jobs=2)
    seconds = (time.perf_counter() - started) / len(pairs)
    return f"two workers: JPEG {seconds:.3f} s of wall time a pair"


def peak_megabytes(files: Files, output: Path) -> float:
    """Peak resident memory of a process that aligns one pair."""
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", PEAK, here, *map(str, files), str(output)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def seconds_in_script(pairs: list[Files], setting: str = "") -> float:
    """Processor seconds a pair of `align_pair` in a script of its own, the best of three."""
    code = PLAIN_SCRIPT + setting + IN_TURN
    files = [str(file) for pair in pairs for file in pair]
    command = [sys.executable, "-c", code, *files]
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in limits}
    done = [
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        for _ in range(3)
    ]
    return min(float(one.stdout) for one in done)


def compared_as_library(pairs: list[Files]) -> str:
    """What a call of `align_pair` costs in a plain script, beside a worker of the command line."""
    plain, worker = seconds_in_script(pairs), seconds_in_script(pairs, AS_A_WORKER)
    return (
        f"align_pair in a plain script: {plain:.3f} s of processor time a pair, in a worker "
        f"{worker:.3f} s: {plain / worker:.2f} times as much"
    )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, as scenes")
    parser.add_argument("--sizes", default="2,6,12,24", help="of the DSLR photos, MP")
    parser.add_argument("--pairs", type=int, default=8, help=f"of {COMPARED_MP} MP")
    parser.add_argument("--others", type=int, default=3, help="pairs of each other size")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    sizes = [float(size) for size in options.sizes.split(",")]
    rows, comparison = {}, ""
    for megapixels in sizes:
        compared = megapixels == COMPARED_MP
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            count = options.pairs if compared else options.others
            pairs = make_pairs(options.photos, megapixels, count, folder)
            seconds = compare(pairs, folder)
            peak = peak_megabytes(pairs[0], folder)
            if compared:
                comparison = with_two_workers(pairs, folder) + "\n" + compared_as_library(pairs)
        rows[megapixels] = (
            f"| {megapixels:g} + {0.75 * megapixels:g} MP | {seconds['floor']:.3f} s "
            f"| {seconds['jpg']:.3f} s | {seconds['png']:.3f} s "
            f"| {seconds['jpg'] / seconds['floor']:.2f} | {peak:.0f} MB |"
        )
    print("| DSLR + phone | floor | JPEG | PNG | JPEG / floor | peak memory |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows.values()))
    print(comparison)


if __name__ == "__main__":
    main()
