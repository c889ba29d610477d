"""What is learned in a run: both networks, their optimisers and the averaged generator."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpedkit.colourmap import fit_colour_map_to
from dpedkit.core.errors import DpedkitError
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
        self.device, self.patch_size = device, train.patch_size
        self._place(self.generator, device)
        self.average = copy.deepcopy(self.generator).eval() if config.ema else None
        # How far the average moves towards the generator in a step.
        self._share = torch.zeros((), device=device)
        self.optimiser = self._adam(self.generator)
        self.discriminator_optimiser = None
        if self.discriminator is not None:
            self._place(self.discriminator, device)
            self.discriminator_optimiser = self._adam(self.discriminator)

    @property
    def best_guess(self) -> Generator:
        """The generator to evaluate and save: the average where there is one."""
        return self.average or self.generator

    def begin_step(self, step: int) -> None:
        """Set what depends on the step: the learning rate, and how far the average looks back."""
        rate = learning_rate(self.config, step)
        for optimiser in (self.optimiser, self.discriminator_optimiser):
            for group in optimiser.param_groups if optimiser is not None else ():
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        # Early on the average looks back less far.
        self._share.fill_(1 - min(self.config.ema, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update_average(self) -> None:
        """Let the average follow the generator."""
        if self.average is None:
            return
        average, now = self.average.state_dict(), self.generator.state_dict()
        means = [name for name, value in average.items() if value.is_floating_point()]
        towards = torch._foreach_sub([now[name] for name in means], [average[n] for n in means])
        torch._foreach_mul_(towards, self._share)
        torch._foreach_add_([average[name] for name in means], towards)
        for name in average.keys() - set(means):
            average[name].copy_(now[name])

    def norm_of_weights(self) -> float:
        """Of all weights that optimisers move, summed over tensors; finite if all of them are."""
        networks = [self.generator, self.discriminator]
        norms = [p.norm() for network in networks if network for p in network.parameters()]
        return torch.stack(norms).detach().sum().item()

    def state(self) -> dict[str, Any]:
        """Everything that training changes, for a checkpoint."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for optimiser in (self.optimiser, self.discriminator_optimiser):
            for group in optimiser.param_groups if optimiser is not None else ():
                group.update(self._adam_options())

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), **self._adam_options())

    def _adam_options(self) -> dict[str, Any]:
        """How Adam computes here; also where a checkpoint comes from another device."""
        rate: float | Tensor = self.config.learning_rate
        recorded = self.config.cuda_graph
        if recorded:  # a recorded step reads its learning rate from memory
            rate = torch.tensor(rate, device=self.device)
        return {
            "lr": rate,
            "fused": self.device.type in ("cpu", "cuda"),
            "capturable": recorded and self.device.type == "cuda",
        }

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
        norm = model.options.get("norm", config.norm)
        if norm != config.norm:
            raise DpedkitError(
                f"{config.init} has {norm} norm, but {config.norm} norm is to be trained; add "
                f"--norm {norm}."
            )
        return model
    options = {"norm": config.norm} if config.generator.startswith("resnet") else {}
    generator = build_generator(config.generator, **options)
    if isinstance(generator, ColourResidual):
        generator.set_colour_map(fit_colour_map_to(train))
    return generator
