"""The same patch pairs as they are compared: in shards, arrays, loose JPEGs and tar files."""

from __future__ import annotations

import tarfile
from pathlib import Path

import cv2
import numpy as np
from synthetic_shards import Patches, write_shards

from dpedkit.shards import ExportConfig, MergeConfig, export_patches, merge_shards

SIZE, BATCH = 100, 50
TARS = 4  # divided among the workers


def write_stores(home: Path, count: int) -> None:
    """Write `count` patch pairs into a folder, in every way that is compared."""
    patches = make_patches(count)
    write_shards(home / "shards", {"train": patches})
    merge_shards([home / "shards"], home / "compressed", MergeConfig(compress=True))
    export_patches(home / "shards", home / "loose", ExportConfig())
    for name, side in zip(("phone", "dslr"), patches, strict=True):
        np.save(home / f"{name}.npy", side)
    write_tars(home / "tars", home / "loose")


def make_patches(count: int) -> Patches:
    """Smooth random patches with a little noise."""
    rng = np.random.default_rng(0)
    phone = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for patch in phone:
        coarse = rng.uniform(0, 255, (SIZE // 8, SIZE // 8, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        patch[:] = (smooth + rng.normal(0, 1, smooth.shape)).clip(0, 255)
    return phone, 255 - phone


def jpeg_folders(loose: Path) -> list[Path]:
    """Phone and DSLR folders of exported patches."""
    return [loose / "iphone" / "training_data" / side for side in ("iphone", "canon")]


def write_tars(folder: Path, loose: Path) -> None:
    """The exported JPEGs as webdataset has them: files of one pair follow one another."""
    folders = jpeg_folders(loose)
    count = len(list(folders[0].iterdir()))
    folder.mkdir()
    for part in range(TARS):
        with tarfile.open(folder / f"{part}.tar", "w") as tar:
            for number in range(part, count, TARS):
                for side, jpegs in zip(("phone", "dslr"), folders, strict=True):
                    tar.add(jpegs / f"{number}.jpg", f"{number:06d}.{side}.jpg")
