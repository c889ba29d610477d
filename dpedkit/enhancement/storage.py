"""Maps of a whole photo, in memory or in a temporary file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dpedkit.core.atomic import explain_os_error


@dataclass(frozen=True)
class Placement:
    """Where strips are computed, and with how much memory.

    Attributes
    ----------
    device : torch.device
        The layers are there already; strips are moved to it one at a time.
    dtype : torch.dtype
        Of the convolutions and the stored maps; normalisation is always computed in float32.
    strip_pixels : int
        A strip has as many whole rows as fit into this number of pixels, at least one.
    memory : int
        Bytes of stored maps to hold in memory.
    spill_folder : Path or None
        Folder for temporary files if more is needed; None uses the system's default.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    strip_pixels: int = 64_000
    memory: int = 1_200_000_000
    spill_folder: Path | None = None


class StoredMap:
    """A map of (H, W, C) in memory, or in a temporary file that vanishes with the process."""

    def __init__(
        self, height: int, width: int, channels: int, placement: Placement, *, on_disk: bool
    ) -> None:
        self.shape = (width, channels)
        self.dtype = placement.dtype
        self.folder = placement.spill_folder or Path(tempfile.gettempdir())
        self.row_bytes = width * channels * placement.dtype.itemsize
        self.file = None
        if on_disk:
            self.file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
        else:
            self.memory = torch.empty((height, width, channels), dtype=self.dtype)

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows as a (1, C, bottom - top, W) tensor in main memory, laid out channels last."""
        if self.file is None:
            rows = self.memory[top:bottom]
        else:
            rows = torch.empty((bottom - top, *self.shape), dtype=self.dtype)
            self.file.seek(top * self.row_bytes)
            left = _bytes_of(rows) if bottom > top else b""
            while left:  # the system reads 2 GiB at most at once
                left = left[self.file.readinto(left) :]
        return rows.permute(2, 0, 1)[None]

    def write(self, values: Tensor, top: int) -> None:
        """Store (1, C, rows, W) values from row `top` on."""
        rows = values[0].permute(1, 2, 0)
        if self.file is None:
            self.memory[top : top + rows.shape[0]] = rows.to("cpu", self.dtype)
            return
        try:
            self.file.seek(top * self.row_bytes)
            left = _bytes_of(rows.to("cpu", self.dtype).contiguous())
            while left:
                left = left[self.file.write(left) :]
        except OSError as error:
            raise explain_os_error(error, self.folder / "a temporary file") from error

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _bytes_of(rows: Tensor) -> memoryview:
    """The memory of a contiguous tensor, also of a dtype that NumPy does not know."""
    return rows.view(torch.uint8).numpy().data.cast("B")
