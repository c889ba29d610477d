"""All that a step is fed: patches for the generator, and what the discriminator is shown."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from dpedkit.train.config import TrainConfig
from dpedkit.train.data import TrainBatches, coins
from dpedkit.train.features import TargetFeatures


@dataclass(frozen=True)
class StepData:
    """What one step works on.

    Attributes
    ----------
    phone, dslr : (B, 3, S, S) float32 tensor
        In [0, 1].
    features : tensor or None
        VGG-19's features of `dslr`, where they are kept.
    other_phone, other_dslr : tensor or None
        Patches for the discriminator's step, where that has a batch of its own.
    coin : (B,) bool tensor or None
        Of which pairs the discriminator is shown the DSLR patch, where it is shown one of the two.
    """

    phone: Tensor
    dslr: Tensor
    features: Tensor | None = None
    other_phone: Tensor | None = None
    other_dslr: Tensor | None = None
    coin: Tensor | None = None


class Feed:
    """The data of each step, a function of the seed and the step alone.

    Attributes
    ----------
    waited_s : float
        Time spent in `at` so far.
    """

    def __init__(
        self, config: TrainConfig, batches: TrainBatches, features: TargetFeatures | None = None
    ) -> None:
        self.config, self.batches, self.features = config, batches, features
        # The authors draw the discriminator's batch by itself; an epoch then still sees every
        # pair once, in one role or the other.
        self.draws = 2 if config.separate_batches and config.texture_weight else 1
        self.waited_s = 0.0

    def at(self, step: int) -> StepData:
        """What a step is fed."""
        began = time.perf_counter()
        batches, first = self.batches, step * self.draws
        phone, dslr = batches.at(first)
        features = self.features.at(batches.indices(first)) if self.features else None
        other_phone, other_dslr = batches.at(first + 1) if self.draws == 2 else (None, None)
        data = StepData(phone, dslr, features, other_phone, other_dslr, self._coin(step))
        self.waited_s += time.perf_counter() - began
        return data

    def _coin(self, step: int) -> Tensor | None:
        config, batches = self.config, self.batches
        if config.losses != "authors" or not config.texture_weight:
            return None
        drawn = coins(config.seed, step, batches.batch, batches.rank, batches.world_size)
        return torch.from_numpy(drawn).to(batches.device)
