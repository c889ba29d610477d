"""The files that an aligned folder has beside its images: an image list, and thumbnails.

`metadata.jsonl` lists the pairs as Hugging Face's `load_dataset("imagefolder")` reads them: its
columns `phone_file_name` and `dslr_file_name` become the image columns `phone` and `dslr`. The
thumbnails of the original photos are for the report; they are written while the pixels are in
memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpedkit.align.config import AlignFoldersConfig
from dpedkit.core.manifest import write_jsonl
from dpedkit.core.records import PairRecord
from dpedkit.images import write_photo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGE_LIST = "metadata.jsonl"  # the name that Hugging Face looks for
_HEIGHT, _MAX_WIDTH = 120, 240  # px of a thumbnail
_GAP = 2
_QUALITY = 80


def write_image_list(
    folder: Path, records: Iterable[PairRecord], config: AlignFoldersConfig
) -> None:
    """Write the list of the accepted pairs' images; without images, remove it.

    Raises
    ------
    DpedkitError
        If the folder is not writable, or the disk is full.
    """
    if not config.images:
        (folder / IMAGE_LIST).unlink(missing_ok=True)
        return
    rows = (_row(record, config.image_format) for record in records if record.accepted)
    write_jsonl(folder / IMAGE_LIST, rows)


def has_image_list(folder: Path, config: AlignFoldersConfig) -> bool:
    """Whether the list is there exactly where there has to be one."""
    return (folder / IMAGE_LIST).is_file() == config.images


def _row(record: PairRecord, suffix: str) -> dict[str, Any]:
    return {
        "phone_file_name": f"phone/{record.name}.{suffix}",
        "dslr_file_name": f"dslr/{record.name}.{suffix}",
        "name": record.name,
        "phone_camera": record.phone.camera,
        "dslr_camera": record.dslr.camera,
        "residual_px": float(record.evidence["residual_median"]),
        "ncc": float(record.evidence["ncc"]),
    }


def write_thumbnail(path: Path, phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> None:
    """Write both photos side by side, reduced to a height of 120 px, as a JPEG.

    Parameters
    ----------
    path : Path
    phone, dslr : (H, W, 3) uint8 array
        RGB, upright.
    """
    import numpy as np

    gap = np.full((_HEIGHT, _GAP, 3), 255, np.uint8)
    both = np.hstack([_reduced(phone), gap, _reduced(dslr)])
    write_photo(path, both, jpeg_quality=_QUALITY)


def _reduced(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    height, width = photo.shape[:2]
    size = (min(max(1, round(width * _HEIGHT / height)), _MAX_WIDTH), _HEIGHT)
    # Averaging every pixel of a 12 MP photo takes 40 ms, so most are skipped.
    step = max(1, min(height // (4 * _HEIGHT), width // 4))
    photo = photo[step // 2 :: step, step // 2 :: step]
    reduced: NDArray[np.uint8] = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return reduced
