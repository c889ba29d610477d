"""Exact strips against the whole photo at once: time, memory, and the cost of bf16 in dB.

    python benchmarks/enhance.py MODEL PHOTO [--megapixels 3] [--full 12]

MODEL is a model file or a checkpoint of the authors. The photo is scaled to the sizes given. The
whole photo and the strips are computed by turns in one process; the peak memory is that of a
`dpedkit enhance` of its own on a photo of `--full` MP (0 leaves that out).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.enhancement.network import enhance_photo
from dpedkit.enhancement.storage import Placement
from dpedkit.images import read_photo, write_photo
from dpedkit.metrics import psnr
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


def peak_of_command(model: Path, photo: NDArray[np.uint8]) -> tuple[float, float]:
    """Seconds and peak resident GB of `dpedkit enhance` on a photo."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photo(folder / "photo.jpg", photo)
        start = time.perf_counter()
        command = [sys.executable, "-m", "dpedkit", "enhance", "-q", str(model)]
        subprocess.run([*command, str(folder / "photo.jpg"), "-o", str(folder / "o")], check=True)
        seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--megapixels", type=float, default=3.0)
    parser.add_argument("--full", type=float, default=12.0)
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
        seconds, peak = peak_of_command(options.model, scaled(original, options.full))
        print(f"dpedkit enhance, {options.full:g} MP: {seconds:.0f} s, peak {peak:.2f} GB resident")


if __name__ == "__main__":
    main()
