"""The numbers of a run: running means over its steps, and the log of its validations.

A step leaves its numbers on the device. They are read some steps later, all at once: reading each
by itself would make the processor wait for the GPU in every step.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import Journal

DISCRIMINATOR_LOSS, ACCURACY = "discriminator's loss", "discriminator's accuracy"


class RunningMeans:
    """Means over the steps since the last validation; part of every checkpoint.

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

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; nothing may be unread."""
        assert not self._unread
        return {"steps": self.steps, "sums": dict(self.sums)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.steps, self.sums = state["steps"], dict(state["sums"])

    def clear(self) -> None:
        """Begin anew after a validation."""
        self.steps, self.sums = 0, dict.fromkeys(self.columns, 0.0)


class MetricLog:
    """A line of a run's log for each validation, and the same numbers for TensorBoard.

    Parameters
    ----------
    file : Path or None
        The log; None writes nothing, as in all but the first of several processes. The numbers for
        TensorBoard go into a folder beside it, where that package is installed.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._open = ExitStack()
        self._journal: Journal | None = None
        self._tensorboard: Any = None

    def append(self, row: Mapping[str, Any]) -> None:
        """One validation: its step under "step", and its numbers, None where there is none."""
        if self._journal is not None:
            self._journal.append(dict(row))
        if self._tensorboard is not None:
            for name, value in row.items():
                if name != "step" and value is not None:
                    self._tensorboard.add_scalar(name, value, row["step"])

    def __enter__(self) -> Self:
        if self._file is None:
            return self
        self._journal = self._open.enter_context(Journal(self._file))
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(self._file.parent / "tensorboard")
            self._tensorboard = self._open.enter_context(writer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, value, trace)


def check_finite(step: int, values: Mapping[str, float], last_good: Path) -> None:
    """Stop before a step that would destroy the weights, or when they are destroyed.

    Raises
    ------
    DpedkitError
        If a value is infinite or not a number; names the step, the value, and the model that is
        left.
    """
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise DpedkitError(
            f"Training stopped at step {step}: the {' and the '.join(broken)} is no longer a "
            f"finite number. {last_good} holds the last good network. Try a lower --learning-rate, "
            "or --clip 1."
        )
