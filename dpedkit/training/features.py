"""The VGG-19 features of the DSLR patches, computed once for a whole run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit.core import console
from dpedkit.core.device import to_images
from dpedkit.shards.reader import SplitReader
from dpedkit.training.objective import Objective

_AT_ONCE = 32  # patches: always the same ones together, so that a resumed run has the same bits
_SHARE = 0.8  # of the free memory, at most
_MEMINFO = Path("/proc/meminfo")  # Linux; kB


class TargetFeatures:
    """Features of every DSLR patch of a split, in the memory of the device.

    Parameters
    ----------
    reader : SplitReader
    objective : Objective
        Whose features; with VGG-19.
    device : torch.device
    """

    def __init__(self, reader: SplitReader, objective: Objective, device: torch.device) -> None:
        example = _features(reader, objective, device, range(1))
        self._all = example.new_empty((len(reader), *example.shape[1:]))
        with console.progress("features", len(reader), "patches") as bar:
            for start in range(0, len(reader), _AT_ONCE):
                rows = range(start, min(start + _AT_ONCE, len(reader)))
                self._all[rows.start : rows.stop] = _features(reader, objective, device, rows)
                bar.advance(len(rows))

    def at(self, indices: NDArray[np.int64]) -> Tensor:
        """Features of patches by their numbers: (B,) -> (B, C, h, w)."""
        return self._all[torch.from_numpy(indices).to(self._all.device)]


def keep_features(
    reader: SplitReader, objective: Objective, device: torch.device
) -> TargetFeatures | None:
    """The features, if the content loss has any and there is memory for them.

    A patch of 100 px takes 100 kB, in bfloat16 half of that.
    """
    if objective.vgg is None:
        return None
    example = _features(reader, objective, device, range(1))
    needed, free = len(reader) * example.numel() * example.element_size(), _free_memory(device)
    if needed > _SHARE * free:
        console.warn(
            f"The features to keep need {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are "
            "free, so they are computed in every step instead. --precision bfloat16 halves their "
            "size."
        )
        return None
    return TargetFeatures(reader, objective, device)


def _features(
    reader: SplitReader, objective: Objective, device: torch.device, rows: range
) -> Tensor:
    found = objective.features(to_images(reader.gather(rows)[1], device))
    assert found is not None
    return found


def _free_memory(device: torch.device) -> float:
    """Bytes for this process; without limit where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    # Files that the system caches count as free: it gives their memory to whoever asks.
    if device.type == "cpu" and _MEMINFO.is_file():
        rows = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
        if "MemAvailable" in rows:
            share = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's: processes here
            return 1024.0 * int(rows["MemAvailable"].split()[0]) / share
    return float("inf")
