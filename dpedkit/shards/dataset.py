"""Patch pairs as a PyTorch dataset, for `dpedkit train` and for your own training loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dpedkit.core.device import to_images
from dpedkit.shards.reader import open_split

Pair = tuple[Tensor, Tensor]
_CPU = torch.device("cpu")


class DpedShards(Dataset[Any]):
    """The patch pairs of one split, each a pair of tensors.

    It can be passed to `torch.utils.data.DataLoader` with any number of workers; each batch is then
    read in one go, not patch by patch.

        loader = DataLoader(DpedShards("shards", "train"), batch_size=32, shuffle=True)
        for phone, dslr in loader:      # (32, 3, 100, 100) float32 in [0, 1]
            ...

    Parameters
    ----------
    folder : str or Path
        What `dpedkit patches` wrote.
    split : str
        "train", "val" or "test".
    transform : callable, optional
        Takes and returns the two tensors of a pair, to rotate or flip both in the same way.
    thumbnails : bool
        Whether each item is followed by a thumbnail of the whole phone photo, to which no transform
        is applied: `(phone, dslr, thumbnail, size)`. `thumbnail` is (3, 256, 256) float32 in
        [0, 1], with the photo in its top left corner and zeros beside it; `size` is (2,) int64, the
        width and height of the photo in it.

    Raises
    ------
    DpedkitError
        As `open_split`; with `thumbnails`, also if the split does not have all of them.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "train",
        transform: Callable[[Tensor, Tensor], Any] | None = None,
        *,
        thumbnails: bool = False,
    ) -> None:
        self.reader = open_split(folder, split)
        self.transform = transform
        self.with_thumbnails = thumbnails
        if thumbnails:
            self.reader.require_thumbnails()

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> Any:
        """One pair: phone and DSLR patch, (3, S, S) float32 in [0, 1]; see also `thumbnails`."""
        return self.__getitems__([index if index >= 0 else len(self) + index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several pairs at once; what PyTorch calls for a batch."""
        self.reader.announce(indices)  # the disk then reads them at once, not one by one
        phone, dslr = (to_images(levels, _CPU) for levels in self.levels(indices))
        pairs = list(zip(phone, dslr, strict=True))
        if self.transform:
            pairs = [self.transform(*pair) for pair in pairs]
        if not self.with_thumbnails:
            return pairs
        photos = self._thumbnails(self.reader.pair[np.asarray(indices)])
        return [(*pair, *photo) for pair, photo in zip(pairs, photos, strict=True)]

    def _thumbnails(self, pairs: NDArray[np.int32]) -> list[Pair]:
        """Padded thumbnail and size of photo pairs, each made once."""
        different = np.unique(pairs).tolist()
        found = self.reader.thumbnails(different)
        padded = to_images(torch.from_numpy(np.stack([one.padded() for one in found])), _CPU)
        sizes = torch.tensor([one.size for one in found])
        made = dict(zip(different, zip(padded, sizes, strict=True), strict=True))
        return [made[pair] for pair in pairs.tolist()]

    def levels(
        self, indices: Sequence[int] | NDArray[np.integer[Any]], *, pin_memory: bool = False
    ) -> Pair:
        """Several pairs as they are stored: two (B, S, S, 3) uint8 tensors in main memory.

        Parameters
        ----------
        indices : (B,) sequence of int
        pin_memory : bool
            Whether a GPU can fetch them while the CPU continues.
        """
        shape = (len(indices), self.reader.patch_size, self.reader.patch_size, 3)
        phone, dslr = (
            torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory) for _ in range(2)
        )
        self.reader.gather(indices, out=(phone.numpy(), dslr.numpy()))
        return phone, dslr
