"""What fp16 and int8 cost in an ONNX file, and what they save: loss, size, time and memory.

    python benchmarks/export.py MODEL CALIBRATE PHOTO [--megapixels 12] [--tile 1024] [--rounds 2]

MODEL is a model file or the folder of a run; CALIBRATE the shards, or the folder of photos, that
`dpedkit export --calibrate` is given. The network is exported in each precision. Loss is PSNR of
the output against that of the network in float32, the mean over images and the worst image, and the
change of PSNR against the DSLR where CALIBRATE has its patches.

Then the photo, scaled to `--megapixels`, is enhanced as a whole (unless `--no-whole`) and
in tiles, with the lines that docs/enhancement.md shows and one thread, each time in a new process.
Processor time is that of the photo alone, without loading the file, relative to float32 in the same
round, the median over the rounds; the last line says what float32 took. The peak is of the resident
memory of the whole process (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2

from dpedkit.core import console
from dpedkit.export import ExportConfig, ExportSummary, export_onnx
from dpedkit.images import read_photo, write_photo

PRECISIONS = ("fp32", "fp16", "int8")
# Without dpedkit and PyTorch, as in a program that has the file alone.
_CHILD = """
import json, sys, time
from pathlib import Path
import cv2, numpy as np, onnxruntime

file, name, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
names = [given.name for given in session.get_inputs()]
dtype = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
photo = cv2.cvtColor(cv2.imread(name), cv2.COLOR_BGR2RGB)
height, width = photo.shape[:2]
scale = min(1, 256 / max(height, width))
size = round(width * scale), round(height * scale)
thumbnail = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)

def run(levels, place):
    images = (levels.transpose(2, 0, 1)[None].astype(np.float32) / 255).astype(dtype)
    inputs = {"photo": images, "thumbnail": thumbnail, "place": np.float32([place])}
    (result,) = session.run(["enhanced"], {name: inputs[name] for name in names})
    return (result[0].transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)

start = time.process_time()
if not side:
    run(photo, (0, 0, 1, 1))
else:
    reach = int(session.get_modelmeta().custom_metadata_map["reach"])
    tiled = np.empty_like(photo)
    for top in range(0, height, side):
        for left in range(0, width, side):
            y, x = max(0, top - reach), max(0, left - reach)
            bottom, right = min(height, top + side + reach), min(width, left + side + reach)
            place = x / width, y / height, right / width, bottom / height
            tile = run(photo[y:bottom, x:right], place)
            tiled[top : top + side, left : left + side] = tile[top - y :, left - x :][:side, :side]
seconds = time.process_time() - start
status = Path("/proc/self/status").read_text()
print(json.dumps([seconds, int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9]))
"""


@dataclass(frozen=True)
class Run:
    """What a process took: processor seconds for the photo, and peak resident GB."""

    seconds: float
    peak: float


def run_file(file: Path, photo: Path, tile: int) -> Run:
    """Enhance a photo in a process of its own, in tiles or, with 0, as a whole."""
    command = [sys.executable, "-c", _CHILD, str(file), str(photo), str(tile)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Run(*json.loads(done.stdout))


def row(
    summary: ExportSummary, runs: dict[tuple[str, int], list[Run]], ways: list[int]
) -> list[str]:
    """A precision's row of the table."""
    loss = summary.loss
    cells = [summary.precision, f"{summary.size / 1e6:.2f} MB"]
    if loss is None:
        cells += ["-", "-", "-"]
    else:
        change = "-" if loss.change is None else f"{loss.change:+.3f} dB"
        cells += [f"{loss.psnr:.1f} dB", f"{loss.worst:.1f} dB", change]
    for way in ways:
        own, whole = runs[summary.precision, way], runs[PRECISIONS[0], way]
        times = [one.seconds / other.seconds for one, other in zip(own, whole, strict=True)]
        cells += [f"{median(times):.2f}x", f"{max(run.peak for run in own):.2f} GB"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("calibrate")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-whole", action="store_true", help="measure only the tiles")
    options = parser.parse_args()

    original = read_photo(options.photo)
    factor = (options.megapixels * 1e6 / (original.size / 3)) ** 0.5
    size = tuple(round(side * factor) for side in original.shape[1::-1])
    ways = [options.tile] if options.no_whole else [0, options.tile]
    runs: dict[tuple[str, int], list[Run]] = {}
    summaries = {}
    with tempfile.TemporaryDirectory() as name:
        photo = Path(name) / "photo.png"
        write_photo(photo, cv2.resize(original, size, interpolation=cv2.INTER_AREA))
        for precision in PRECISIONS:
            calibrate = None if precision == "fp32" else options.calibrate
            config = ExportConfig(precision=precision, calibrate=calibrate)
            file = Path(name) / f"{precision}.onnx"
            summaries[precision] = export_onnx(options.model, file, config)
        for _ in range(options.rounds):
            for way in ways:
                for precision, summary in summaries.items():
                    done = run_file(summary.file, photo, way)
                    runs.setdefault((precision, way), []).append(done)
    named = [f"tiles of {way} px" if way else "whole" for way in ways]
    header = ["", "file", "from float32", "worst", "DSLR"]
    header += [cell for way in named for cell in (f"{way}: processor", "peak")]
    rows = [row(summary, runs, ways) for summary in summaries.values()]
    title = f"{options.model}, {size[0]}x{size[1]} px, the median of {options.rounds}"
    print(console.table(header, rows, title))
    loss = summaries["int8"].loss
    if loss is not None:
        print(f"Loss: {loss.source}")
    taken = [
        f"{median(run.seconds for run in runs[PRECISIONS[0], way]):.1f} s ({which})"
        for way, which in zip(ways, named, strict=True)
    ]
    print(f"Processor time in float32: {', '.join(taken)}")


if __name__ == "__main__":
    main()
