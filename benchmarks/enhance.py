"""Exact strips against the whole photo at once: time, memory, and the cost of bf16 in dB.

    python benchmarks/enhance.py MODEL PHOTO [--megapixels 3] [--full 12]

MODEL is a model file or a checkpoint of the authors. The photo is scaled to the sizes given. The
whole photo and the strips are computed by turns in one process. Then `dpedkit enhance` has a
process of its own for a photo of `--full` MP (0 leaves that out), with all of the network and, if
it has one, with its colour map alone. Of that, the table gives the wall time and the processor time
of the whole command, and of the photo by itself: the command minus the same command on a photo of a
few pixels. The column JPEG is the photo's processor time in units of what decoding and encoding it
as a JPEG takes, measured in turns, which says more than seconds on a machine that is not idle; the
last one is the peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dpedkit.core import console
from dpedkit.enhancement.network import enhance_photo
from dpedkit.enhancement.storage import Placement
from dpedkit.images import read_photo, write_photo
from dpedkit.metrics import psnr
from dpedkit.models.colour_residual import ColourResidual
from dpedkit.models.files import load_model


def scaled(photo: NDArray[np.uint8], megapixels: float) -> NDArray[np.uint8]:
    """The photo at a size in MP, its proportions kept."""
    height, width = photo.shape[:2]
    factor = (megapixels * 1e6 / (height * width)) ** 0.5
    size = round(width * factor), round(height * factor)
    resized: NDArray[np.uint8] = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return resized


def timed(way: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.perf_counter()
    with torch.inference_mode():
        result = way()
    return result, time.perf_counter() - start


@dataclass(frozen=True)
class Command:
    """What a process took: wall and processor seconds, and peak resident GB."""

    wall: float
    processor: float
    peak: float


# A new process starts with the peak of the one that starts it, so a small one does.
_LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
run = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(run.pid, 0)
run.returncode = os.waitstatus_to_exitcode(status)
seconds = time.perf_counter() - start
print(json.dumps([run.returncode, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def run_command(model: Path, photo: Path, *options: str) -> Command:
    """`dpedkit enhance` in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "dpedkit", "enhance", "-q", str(model), str(photo)]
        launcher = [sys.executable, "-c", _LAUNCHER, *command, "-o", name, *options]
        run = subprocess.run(launcher, stdout=subprocess.PIPE, check=True)
    code, seconds, processor, kilobytes = json.loads(run.stdout)
    if code:
        sys.exit(f"`dpedkit enhance` failed with exit code {code}.")
    return Command(seconds, processor, kilobytes * 1024 / 1e9)


def jpeg_seconds(photo: Path) -> float:
    """Processor time of decoding and encoding a JPEG."""
    with tempfile.TemporaryDirectory() as name:
        start = time.process_time()
        write_photo(Path(name) / "photo.jpg", np.asarray(Image.open(photo)))
        return time.process_time() - start


def measure_commands(model: Path, photo: NDArray[np.uint8], rounds: int, *, has_map: bool) -> str:
    """The table of `dpedkit enhance` on a photo: the fastest of some rounds in turns."""
    ways = {"network": (), "colour map alone": ("--colours-only",)} if has_map else {"network": ()}
    runs: dict[tuple[str, str], list[Command]] = {}
    jpeg = []
    with tempfile.TemporaryDirectory() as name:
        files = {"large": Path(name) / "large.jpg", "tiny": Path(name) / "tiny.jpg"}
        write_photo(files["large"], photo)
        write_photo(files["tiny"], photo[:64, :64])
        for _ in range(rounds):
            jpeg.append(jpeg_seconds(files["large"]))
            for way, options in ways.items():
                for size, file in files.items():
                    runs.setdefault((way, size), []).append(run_command(model, file, *options))
    rows = []
    for way in ways:
        best = {
            (size, what): min(getattr(run, what) for run in runs[way, size])
            for size in files
            for what in ("wall", "processor")
        }
        own = {what: best["large", what] - best["tiny", what] for what in ("wall", "processor")}
        peak = max(run.peak for run in runs[way, "large"])
        rows.append(
            (
                way,
                f"{best['large', 'wall']:.1f} s",
                f"{best['large', 'processor']:.1f} s",
                f"{own['wall']:.1f} s",
                f"{own['processor']:.1f} s",
                f"{own['processor'] / min(jpeg):.1f}x",
                f"{peak:.2f} GB",
            )
        )
    header = ("dpedkit enhance", "wall", "processor", "photo: wall", "processor", "JPEG", "peak")
    return console.table(header, rows, f"{photo.size / 3e6:.1f} MP, the fastest of {rounds}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--megapixels", type=float, default=3.0)
    parser.add_argument("--full", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()

    original = read_photo(options.photo)
    levels = torch.from_numpy(scaled(original, options.megapixels))
    photo = levels.permute(2, 0, 1)[None].float() / 255
    model = load_model(options.model)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    channels_last = photo.contiguous(memory_format=torch.channels_last)
    whole, seconds_whole = timed(lambda: model(channels_last))
    strips, seconds_strips = timed(lambda: enhance_photo(model, photo, Placement()))
    half, seconds_half = timed(lambda: enhance_photo(model, photo, Placement(dtype=torch.bfloat16)))
    print(
        f"{model.architecture}, {levels.shape[1]}x{levels.shape[0]} px, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"whole photo at once  {seconds_whole:7.1f} s")
    print(
        f"strips               {seconds_strips:7.1f} s, {seconds_strips / seconds_whole:.2f}x; "
        f"largest difference {(strips - whole).abs().max():.1e}"
    )
    print(
        f"strips in bf16       {seconds_half:7.1f} s; "
        f"{psnr(half.clamp(0, 1), whole.clamp(0, 1)).item():.1f} dB from float32"
    )
    if options.full:
        full, has_map = scaled(original, options.full), isinstance(model, ColourResidual)
        print(measure_commands(options.model, full, options.rounds, has_map=has_map))


if __name__ == "__main__":
    main()
