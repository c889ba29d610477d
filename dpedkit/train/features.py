"""VGG-19's features of the DSLR patches, computed once for a whole run."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpedkit import console
from dpedkit.device import to_images
from dpedkit.errors import UsageError
from dpedkit.shards.reader import SplitReader
from dpedkit.train.objective import Objective

_AT_ONCE = 32  # patches: always the same ones together, so that a resumed run has the same bits
_SHARE = 0.8  # of the free memory, at most


class TargetFeatures:
    """Features of every DSLR patch of a split, in the memory of the device.

    Parameters
    ----------
    reader : SplitReader
    objective : Objective
        Whose features; with VGG-19.
    device : torch.device

    Raises
    ------
    UsageError
        If they do not fit: a patch of 100 px takes 100 kB, in bfloat16 half.
    """

    def __init__(self, reader: SplitReader, objective: Objective, device: torch.device) -> None:
        self._all = torch.empty(0)
        with console.progress("features", len(reader), "patches") as bar:
            for start in range(0, len(reader), _AT_ONCE):
                rows = range(start, min(start + _AT_ONCE, len(reader)))
                found = objective.features(to_images(reader.gather(rows)[1], device))
                assert found is not None
                if start == 0:
                    self._all = _room_for(len(reader), found)
                self._all[rows.start : rows.stop] = found
                bar.advance(len(rows))

    def at(self, indices: NDArray[np.int64]) -> Tensor:
        """Features of patches by their numbers: (B,) -> (B, C, h, w)."""
        return self._all[torch.from_numpy(indices).to(self._all.device)]


def _room_for(count: int, example: Tensor) -> Tensor:
    """An empty tensor for `count` patches' features, where there is memory for it."""
    needed = count * example[0].numel() * example.element_size()
    free = _free_memory(example.device)
    if needed > _SHARE * free:
        raise UsageError(
            f"cache_features needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; leave "
            "it out, or take --precision bfloat16, which halves that."
        )
    return torch.empty((count, *example.shape[1:]), dtype=example.dtype, device=example.device)


def _free_memory(device: torch.device) -> float:
    """Bytes; without limit where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return float("inf")
