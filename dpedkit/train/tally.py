"""What the steps between two evaluations were like, for the log and for the guards.

A step leaves its numbers on the device. They are read some steps later, all at once: reading each
by itself would make the processor wait for the GPU in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

DISCRIMINATOR_LOSS, ACCURACY = "discriminator's loss", "discriminator's accuracy"


class Tally:
    """Sums over steps; part of every checkpoint.

    Parameters
    ----------
    columns : sequence of str
        Names of a step's numbers: the terms of the generator's loss, then those of the
        discriminator where there is one.

    Attributes
    ----------
    newest_loss : float
        The generator's loss in the last step that was read.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self.steps = 0
        self.sums = dict.fromkeys(self.columns, 0.0)
        self.newest_loss = 0.0
        self._unread: list[tuple[int, Tensor]] = []

    def add(self, step: int, values: Tensor) -> None:
        """Take note of a step's numbers, (columns,), without reading them."""
        self._unread.append((step, values))

    def read(self, mean: Callable[[Tensor], Tensor]) -> Iterator[tuple[int, dict[str, float]]]:
        """Read and count what was added, step by step.

        Parameters
        ----------
        mean : callable
            The mean over all processes of (steps, columns) numbers.
        """
        if not self._unread:
            return
        steps, rows = zip(*self._unread, strict=True)
        self._unread = []
        for step, row in zip(steps, mean(torch.stack(rows)).tolist(), strict=True):
            values = dict(zip(self.columns, row, strict=True))
            self.steps += 1
            for name, value in values.items():
                self.sums[name] += value
            self.newest_loss = self._loss_in(values)
            yield step, values

    def loss(self) -> float | None:
        """Mean of the generator's loss; None before the first step."""
        return self._loss_in(self.sums) / self.steps if self.steps else None

    def accuracy(self) -> float | None:
        """Mean of the discriminator's accuracy, where there is one."""
        if not self.steps or ACCURACY not in self.sums:
            return None
        return self.sums[ACCURACY] / self.steps

    @staticmethod
    def _loss_in(values: Mapping[str, float]) -> float:
        own = (DISCRIMINATOR_LOSS, ACCURACY)
        return sum(value for name, value in values.items() if name not in own)

    def state(self) -> dict[str, Any]:
        """For a checkpoint; nothing may be unread."""
        assert not self._unread
        return {"steps": self.steps, "sums": dict(self.sums)}

    def load_state(self, state: dict[str, Any]) -> None:
        self.steps, self.sums = state["steps"], dict(state["sums"])

    def clear(self) -> None:
        """Begin anew after an evaluation."""
        self.steps, self.sums = 0, dict.fromkeys(self.columns, 0.0)
