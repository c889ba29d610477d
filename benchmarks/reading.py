"""How long reading a photo takes beside decoding it: what orientation and colour profile cost.

    python benchmarks/reading.py [--photo PHOTO] [--megapixels 12]

The photo (one of dpedkit's own scenes unless given) is saved as JPEG - plain, lying on its side,
and with the colour profile of the photo given - and in other formats. Each file is decoded by
Pillow alone and read by `read_photo`, in turn, in one process; the table has the medians.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from dpedkit.core.console import table
from dpedkit.images import read_photo
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import simulate_pair

_GOES = 9


def make_photo(megapixels: float) -> Image.Image:
    """A simulated DSLR photo, enlarged to the size wanted."""
    photo = simulate_pair(SimulateConfig(phone_megapixels=1.0, dslr_megapixels=2.0), 0).dslr
    height, width = photo.shape[:2]
    scale = (megapixels * 1e6 / (height * width)) ** 0.5
    size = (round(width * scale), round(height * scale))
    return Image.fromarray(cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC))


def write_variants(photo: Image.Image, profile: bytes | None, folder: Path) -> dict[str, Path]:
    """The photo in the formats to compare."""
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    photo.save(folder / "plain.jpg", quality=95)
    photo.save(folder / "turned.jpg", quality=95, exif=turned)
    photo.save(folder / "plain.png", compress_level=1)
    photo.save(folder / "plain.webp", quality=90)
    files = {
        "JPEG": folder / "plain.jpg",
        "JPEG on its side": folder / "turned.jpg",
        "PNG": folder / "plain.png",
        "WebP": folder / "plain.webp",
    }
    if profile:
        files["JPEG with its profile"] = folder / "profile.jpg"
        photo.save(files["JPEG with its profile"], quality=95, icc_profile=profile)
    try:
        import pillow_heif
    except ImportError:
        return files
    pillow_heif.register_heif_opener()
    files["HEIC"] = folder / "plain.heic"
    photo.save(files["HEIC"], quality=80)
    return files


def decode(path: Path) -> None:
    """What Pillow alone does: the pixels as they are stored."""
    with Image.open(path) as image:
        np.array(image.convert("RGB"))


def seconds(work: Callable[[Path], object], path: Path) -> float:
    begun = time.perf_counter()
    work(path)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, help="a photo, whose colour profile is used too")
    parser.add_argument("--megapixels", type=float, default=12.0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    profile = None
    if options.photo:
        with Image.open(options.photo) as image:
            profile = image.info.get("icc_profile")
            photo = Image.fromarray(np.array(image.convert("RGB")))  # without what it says itself
    else:
        photo = make_photo(options.megapixels)
    print(f"{photo.width} x {photo.height} px, {photo.width * photo.height / 1e6:.1f} MP")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_variants(photo, profile, Path(folder)).items():
            times = [(seconds(decode, path), seconds(read_photo, path)) for _ in range(_GOES)]
            alone, whole = np.median(times, axis=0)
            rows.append((name, f"{1e3 * alone:.0f}", f"{1e3 * whole:.0f}", f"{whole / alone:.2f}"))
    print(table(("format", "Pillow alone, ms", "read_photo, ms", "ratio"), rows))


if __name__ == "__main__":
    main()
