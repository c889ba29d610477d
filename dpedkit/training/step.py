"""One training step: the generator's, then the discriminator's (paper, section III).

A step leaves its numbers on the device. They are read together some steps later: reading them in
every step would make the CPU wait for the GPU each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpedkit.core.device import autocast
from dpedkit.core.errors import DpedkitError
from dpedkit.core.wording import listed
from dpedkit.losses import discriminator_loss
from dpedkit.models.discriminator import Discriminator, to_grey
from dpedkit.models.generator import Generator
from dpedkit.training.config import TrainConfig
from dpedkit.training.cpu_kernels import apply_layer
from dpedkit.training.data import Batch
from dpedkit.training.distributed import Processes
from dpedkit.training.objective import Objective
from dpedkit.training.state import TrainingState

DISCRIMINATOR_LOSS, ACCURACY = "discriminator's loss", "discriminator's accuracy"
_EAGER_STEPS = 3  # in which torch allocates and chooses algorithms, before anything is recorded


class TrainingStep:
    """Changes the networks of a training state, one step a call.

    Nothing in a step waits for the device: its results are returned as a row of numbers on the
    device.

    Attributes
    ----------
    columns : list of str
        Names of those numbers: the weighted terms of the generator's loss, then the
        discriminator's loss and accuracy where there is one.
    """

    def __init__(
        self, config: TrainConfig, state: TrainingState, objective: Objective, processes: Processes
    ) -> None:
        self.config, self.state, self.objective = config, state, objective
        generator = GeneratorForward(state.generator, config.precision)
        discriminator = None
        if state.discriminator is not None:
            discriminator = DiscriminatorForward(state.discriminator, config.precision)
        if config.compile:
            for network in (generator, discriminator, objective.vgg):
                if network is not None:
                    # The last batch of a validation may be smaller. Torch would take that for a
                    # sign that sizes vary, and compile slower code, for any size, for training too.
                    network.compile(dynamic=False)
        # Two networks, two exchanges of gradients: each is updated by itself.
        example = torch.zeros(2, 3, state.patch_size, state.patch_size, device=state.device)
        shown = 1 if config.losses == "authors" else 2
        self.generator, self.discriminator = generator, discriminator
        self.synced_generator = processes.wrap(generator, example)
        self.synced_discriminator = discriminator and processes.wrap(
            discriminator, *[example] * shown
        )
        own = [] if discriminator is None else [DISCRIMINATOR_LOSS, ACCURACY]
        self.columns = [*(f"{name} loss" for name in objective.names), *own]

    def __call__(self, batch: Batch) -> Tensor:
        """Learn from a batch: returns (columns,) float32."""
        enhanced, terms = self.generator_step(batch)
        row = list(terms.values())
        if self.discriminator is not None:
            row += self.discriminator_step(batch, enhanced)
        self.state.update_ema()
        return torch.stack(row).detach()

    def generator_step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Lower the weighted sum of the terms (eq. 8); returns the enhanced patches and the terms.

        The enhanced patches are those from before the update.
        """
        enhanced = self.synced_generator(batch.phone)
        logits = None
        if self.discriminator is not None:
            # The discriminator is only asked; its own gradients are not wanted here.
            self.discriminator.requires_grad_(False)
            (logits,) = self.discriminator(enhanced)
            self.discriminator.requires_grad_(True)
        terms = self.objective.terms(enhanced, batch.dslr, logits, batch.features)
        loss = torch.stack(list(terms.values())).sum()
        self._update(self.state.generator, self.state.optimiser, loss)
        return enhanced.detach(), terms

    def discriminator_step(self, batch: Batch, enhanced: Tensor) -> list[Tensor]:
        """Cross-entropy on enhanced and DSLR patches (section III-A.2); returns it and accuracy.

        With a separate batch, its patches are enhanced by the generator that was just updated, as
        in the authors' code. That also shows either the enhanced or the DSLR patch of each pair, at
        random, where the paper shows both.
        """
        dslr = batch.dslr
        if batch.discriminator_phone is not None and batch.discriminator_dslr is not None:
            dslr = batch.discriminator_dslr
            with torch.no_grad():  # and so without the other processes
                enhanced = self.generator(batch.discriminator_phone)
        return self._train_discriminator(enhanced, dslr, batch.show_dslr)

    def pretraining_step(self, batch: Batch) -> Tensor:
        """Let the discriminator alone learn to tell phone from DSLR patches: (2,) as above."""
        row = self._train_discriminator(batch.phone[:, :3], batch.dslr, batch.show_dslr)
        return torch.stack(row).detach()

    def _train_discriminator(
        self, other: Tensor, dslr: Tensor, show_dslr: Tensor | None
    ) -> list[Tensor]:
        """One update; `show_dslr` says which patch of each pair is shown, None shows both."""
        optimiser = self.state.discriminator_optimiser
        assert self.state.discriminator is not None and self.synced_discriminator is not None
        assert optimiser is not None
        if show_dslr is not None:
            shown = [torch.where(show_dslr[:, None, None, None], dslr, other)]
            labels = [show_dslr]
        else:
            is_dslr = torch.ones(len(dslr), dtype=torch.bool, device=dslr.device)
            shown, labels = [dslr, other], [is_dslr, ~is_dslr]
        logits = self.synced_discriminator(*shown)
        losses = [discriminator_loss(x, label) for x, label in zip(logits, labels, strict=True)]
        right = [((x > 0) == label) for x, label in zip(logits, labels, strict=True)]
        loss = torch.stack(losses).mean()
        self._update(self.state.discriminator, optimiser, loss)
        return [loss.detach(), torch.cat(right).float().mean()]

    def _update(self, network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        if self.config.clip:
            nn.utils.clip_grad_norm_(network.parameters(), self.config.clip)
        optimiser.step()


class GeneratorForward(nn.Module):
    """A generator whose inner layers may run in bfloat16.

    The first and the last layer stay in float32, because rounding their inputs and outputs, the
    pixels, to 8 bits would be visible. Norms take their statistics in float32 in any case.

    Parameters
    ----------
    generator : Generator
        Shared, not copied.
    precision : str
        "float32", "tf32" or "bfloat16", of `TrainConfig`.
    """

    def __init__(self, generator: Generator, precision: str) -> None:
        super().__init__()
        self.generator, self.precision = generator, precision

    def forward(self, photo: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1] -> the same shape, float32."""
        first, *middle, last = self.generator.layers
        maps, base = self.generator.prepare(photo)
        x = apply_layer(first, maps)
        with autocast(self.precision, photo.device):
            for layer in middle:
                x = apply_layer(layer, x)
        return self.generator.finish(apply_layer(last, x.float()), base)


class DiscriminatorForward(nn.Module):
    """The discriminator on several batches in one call: DDP counts calls, not batches."""

    def __init__(self, discriminator: Discriminator, precision: str) -> None:
        super().__init__()
        self.discriminator, self.precision = discriminator, precision

    def forward(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """RGB patches, (N, 3, S, S) each -> logits that a DSLR took them, (N,) float32 each."""
        logits = []
        for images in batches:
            with autocast(self.precision, images.device):
                logits.append(self.discriminator(to_grey(images)))
        return tuple(x.float() for x in logits)


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
        """Start again from zero after a validation."""
        self.steps, self.sums = 0, dict.fromkeys(self.columns, 0.0)


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
            f"Training stopped at step {step}: {listed([f'the {name}' for name in broken])} "
            f"{'is' if len(broken) == 1 else 'are'} no longer finite. {last_good} holds the last "
            "good network. Try a lower --learning-rate, or --clip 1."
        )


class GraphedStep:
    """A step that computes on tensors of its own, which each call fills.

    On a GPU, the work on them is recorded as a CUDA graph after a few steps and replayed from then
    on: hundreds of kernels with one call. On other devices the step is run normally, with the same
    results.

    Parameters
    ----------
    step : callable
        From the batch of a step to its row of numbers. It may not wait for the device, nor depend
        on anything but tensors that stay in place.
    device : torch.device
    """

    def __init__(self, step: Callable[[Batch], Tensor], device: torch.device) -> None:
        self._step, self._on_gpu = step, device.type == "cuda"
        self._calls = 0
        self._batch: Batch | None = None
        self._row = torch.empty(0)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Learn from a batch; returns the step's numbers."""
        self._fill(batch)
        assert self._batch is not None
        if not self._on_gpu:
            return self._step(self._batch)
        self._calls += 1
        if self._calls <= _EAGER_STEPS:
            return self._on_side_stream(self._batch)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # The thread that reads patches ahead may meanwhile ask for pinned memory.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._row = self._step(self._batch)
        self._graph.replay()
        return self._row.clone()

    def _fill(self, batch: Batch) -> None:
        if self._batch is None:
            self._batch = replace(
                batch, **{name: value.clone() for name, value in _tensors(batch).items()}
            )
            return
        mine = _tensors(self._batch)
        for name, value in _tensors(batch).items():
            mine[name].copy_(value)

    def _on_side_stream(self, batch: Batch) -> Tensor:
        """On a stream beside the main one, as recording will do."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            row = self._step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return row


def _tensors(batch: Batch) -> dict[str, Tensor]:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if value is not None}
