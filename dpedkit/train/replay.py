"""Steps recorded once as a CUDA graph, then replayed: hundreds of kernels by one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from dpedkit.train.feed import StepData

_EAGER_STEPS = 3  # in which torch allocates and chooses algorithms, before anything is recorded


class ReplayedStep:
    """A step that computes on tensors of its own, which each call fills.

    On a GPU the work on them is recorded after a few steps and replayed from then on; elsewhere it
    is done anew each time, with the same results.

    Parameters
    ----------
    step : callable
        From the data of a step to its row of numbers. It may not wait for the device, nor depend
        on anything but tensors that stay in place.
    device : torch.device
    """

    def __init__(self, step: Callable[[StepData], Tensor], device: torch.device) -> None:
        self._step, self._on_gpu = step, device.type == "cuda"
        self._calls = 0
        self._data: StepData | None = None
        self._row = torch.empty(0)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, data: StepData) -> Tensor:
        """Learn from a batch; returns the step's numbers."""
        self._fill(data)
        assert self._data is not None
        if not self._on_gpu:
            return self._step(self._data)
        self._calls += 1
        if self._calls <= _EAGER_STEPS:
            return self._beside(self._data)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # The thread that reads patches ahead may meanwhile ask for pinned memory.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._row = self._step(self._data)
        self._graph.replay()
        return self._row.clone()

    def _fill(self, data: StepData) -> None:
        if self._data is None:
            self._data = replace(
                data, **{name: value.clone() for name, value in _tensors(data).items()}
            )
            return
        mine = _tensors(self._data)
        for name, value in _tensors(data).items():
            mine[name].copy_(value)

    def _beside(self, data: StepData) -> Tensor:
        """On a stream beside the main one, as recording will do."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            row = self._step(data)
        torch.cuda.current_stream().wait_stream(stream)
        return row


def _tensors(data: StepData) -> dict[str, Tensor]:
    values = {field.name: getattr(data, field.name) for field in fields(data)}
    return {name: value for name, value in values.items() if value is not None}
