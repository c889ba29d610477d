"""What is learned in a run: both networks, their optimisers and the averaged generator."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dpedkit.colourmap import fit_colour_map_to
from dpedkit.errors import DpedkitError
from dpedkit.models.build import build_generator
from dpedkit.models.colour_residual import ColourResidual
from dpedkit.models.discriminator import Discriminator
from dpedkit.models.files import load_model
from dpedkit.models.generator import Generator
from dpedkit.shards.reader import SplitReader
from dpedkit.train.config import TrainConfig

_WARM_UP_STEPS = 30


class Learner:
    """Networks and optimisers of a run, made from its settings and train split.

    Attributes
    ----------
    generator : Generator
    average : Generator or None
        The generator's weights averaged over time, where the settings ask for it.
    discriminator : Discriminator or None
        None where the texture loss has no weight.
    """

    def __init__(self, config: TrainConfig, train: SplitReader, device: torch.device) -> None:
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.generator = _first_generator(config, train)
            self.discriminator = None
            if config.texture_weight:
                self.discriminator = Discriminator(
                    config.norm,
                    norm_first=config.losses == "paper",
                    outputs=1 if config.losses == "paper" else 2,
                    patch_size=train.patch_size,
                )
        self._place(self.generator, device)
        self.average = copy.deepcopy(self.generator).eval() if config.ema else None
        self.optimiser = torch.optim.Adam(self.generator.parameters(), config.learning_rate)
        self.discriminator_optimiser = None
        if self.discriminator is not None:
            self._place(self.discriminator, device)
            self.discriminator_optimiser = torch.optim.Adam(
                self.discriminator.parameters(), config.learning_rate
            )

    @property
    def best_guess(self) -> Generator:
        """The generator to evaluate and save: the average where there is one."""
        return self.average or self.generator

    def set_learning_rate(self, step: int) -> float:
        """Set both optimisers to the learning rate of a step."""
        rate = learning_rate(self.config, step)
        for optimiser in (self.optimiser, self.discriminator_optimiser):
            if optimiser is not None:
                for group in optimiser.param_groups:
                    group["lr"] = rate
        return rate

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Let the average follow the generator; early on it looks back less far."""
        if self.average is None:
            return
        decay = min(self.config.ema, (1 + step) / (10 + step))
        now = self.generator.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(now[name], 1 - decay)
            else:
                value.copy_(now[name])

    def state(self) -> dict[str, Any]:
        """Everything that training changes, for a checkpoint."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        parts = {
            "generator": self.generator,
            "average": self.average,
            "discriminator": self.discriminator,
            "optimiser": self.optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
        }
        return {name: part for name, part in parts.items() if part is not None}

    @staticmethod
    def _place(network: nn.Module, device: torch.device) -> None:
        # Channels last is the faster layout for these convolutions, on CPUs and on GPUs.
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of a step, counted from 0."""
    if config.schedule == "constant":
        return config.learning_rate
    warm_up = min(1.0, (step + 1) / min(_WARM_UP_STEPS, config.steps))
    return config.learning_rate * warm_up * (0.5 + 0.5 * math.cos(math.pi * step / config.steps))


def clip_gradients(network: nn.Module, limit: float) -> None:
    """Scale all gradients down together where their norm exceeds `limit`; 0 leaves them."""
    if limit:
        nn.utils.clip_grad_norm_(network.parameters(), limit)


def _first_generator(config: TrainConfig, train: SplitReader) -> Generator:
    if config.init is not None:
        model = load_model(Path(config.init)).train()
        if model.architecture != config.generator:
            raise DpedkitError(
                f"{config.init} is a {model.architecture}, but a {config.generator} is to be "
                f"trained; add --generator {model.architecture}."
            )
        return model
    options = {"norm": config.norm} if config.generator.startswith("resnet") else {}
    generator = build_generator(config.generator, **options)
    if isinstance(generator, ColourResidual):
        generator.set_colour_map(fit_colour_map_to(train))
    return generator
