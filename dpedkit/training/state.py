"""What training changes: both networks, their optimisers, and the EMA model."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dpedkit.colourmap import fit_colour_map_to
from dpedkit.core.errors import DpedkitError
from dpedkit.models.build import build_generator
from dpedkit.models.colour_residual import ColourResidual
from dpedkit.models.discriminator import Discriminator
from dpedkit.models.files import load_model
from dpedkit.models.generator import Generator
from dpedkit.models.photo_aware import PhotoAware
from dpedkit.photomap import fit_photo_map_to
from dpedkit.shards.reader import SplitReader
from dpedkit.training.config import TrainConfig

_WARM_UP_STEPS = 30
Network = TypeVar("Network", bound=nn.Module)


class TrainingState:
    """Networks and optimisers of a run, made from its settings and train split.

    Attributes
    ----------
    generator : Generator
    ema : Generator or None
        The exponential moving average of the generator's weights, where the settings ask for it.
    discriminator : Discriminator or None
        None where the texture loss has no weight.
    restarts : sequence of int
        The steps at which the run had ended before it was extended; the schedule of the learning
        rate starts again at each.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: SplitReader,
        device: torch.device,
        restarts: Sequence[int] = (),
    ) -> None:
        self.config, self.restarts = config, restarts
        self.device, self.patch_size = device, train.patch_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.generator = self._place(_first_generator(config, train))
            self.discriminator = None
            if config.texture_weight:
                discriminator = Discriminator(
                    config.norm,
                    norm_first=config.losses == "paper",
                    outputs=1 if config.losses == "paper" else 2,
                    patch_size=train.patch_size,
                )
                self.discriminator = self._place(discriminator)
        self.ema = copy.deepcopy(self.generator).eval() if config.ema else None
        # How far the EMA model moves towards the generator in a step. It stands on the device, as
        # the learning rate does for a CUDA graph, which has no other way to see it change.
        self._ema_share = torch.zeros((), device=device)
        self.optimiser = self._adam(self.generator)
        self.discriminator_optimiser = None
        if self.discriminator is not None:
            self.discriminator_optimiser = self._adam(self.discriminator)

    @property
    def model(self) -> Generator:
        """The network to validate and save: the EMA model where there is one."""
        return self.ema or self.generator

    def begin_step(self, step: int) -> None:
        """Set what depends on the step: the learning rate, and how far the EMA looks back."""
        rate = learning_rate(self.config, step, self.restarts)
        for optimiser in (self.optimiser, self.discriminator_optimiser):
            for group in optimiser.param_groups if optimiser is not None else ():
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        # Early on the EMA looks back less far.
        self._ema_share.fill_(1 - min(self.config.ema, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update_ema(self) -> None:
        """Let the EMA model follow the generator, the statistics of its batch norms included."""
        if self.ema is None:
            return
        ema, now = self.ema.state_dict(), self.generator.state_dict()
        means = [name for name, value in ema.items() if value.is_floating_point()]
        towards = torch._foreach_sub([now[name] for name in means], [ema[name] for name in means])
        torch._foreach_mul_(towards, self._ema_share)
        torch._foreach_add_([ema[name] for name in means], towards)
        for name in ema.keys() - set(means):
            ema[name].copy_(now[name])

    def norm_of_weights(self) -> float:
        """Of all weights that optimisers move, summed over tensors; finite if all of them are."""
        networks = [self.generator, self.discriminator]
        norms = [p.norm() for network in networks if network for p in network.parameters()]
        return torch.stack(norms).detach().sum().item()

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes, for a checkpoint."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for optimiser in (self.optimiser, self.discriminator_optimiser):
            for group in optimiser.param_groups if optimiser is not None else ():
                group.update(self._adam_options())

    def _parts(self) -> dict[str, Any]:
        """By their names in a checkpoint."""
        parts = {
            "generator": self.generator,
            "average": self.ema,
            "discriminator": self.discriminator,
            "optimiser": self.optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _place(self, network: Network) -> Network:
        # Channels last is the faster layout for these convolutions, on CPUs and on GPUs.
        return network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), **self._adam_options())

    def _adam_options(self) -> dict[str, Any]:
        """How Adam computes here; also where a checkpoint comes from another device."""
        rate: float | Tensor = self.config.learning_rate
        recorded = self.config.cuda_graph
        if recorded:
            rate = torch.tensor(rate, device=self.device)
        return {
            "lr": rate,
            "fused": self.device.type in ("cpu", "cuda"),
            "capturable": recorded and self.device.type == "cuda",
        }


def learning_rate(config: TrainConfig, step: int, restarts: Sequence[int] = ()) -> float:
    """The learning rate of a step, counted from 0; `restarts` as in `TrainingState`."""
    if config.schedule == "constant":
        return config.learning_rate
    bounds = [0, *restarts, config.steps]
    start = max(bound for bound in bounds[:-1] if bound <= step)
    steps, step = min(bound for bound in bounds if bound > step) - start, step - start
    warm_up = min(1.0, (step + 1) / min(_WARM_UP_STEPS, steps))
    return config.learning_rate * warm_up * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def _first_generator(config: TrainConfig, train: SplitReader) -> Generator:
    if config.init is not None:
        model = load_model(Path(config.init)).train()
        if model.architecture != config.generator:
            raise DpedkitError(
                f"{config.init} is a {model.architecture}, but the run trains a "
                f"{config.generator}; add --generator {model.architecture}."
            )
        norm = model.options.get("norm", config.norm)
        if norm != config.norm:
            raise DpedkitError(
                f"{config.init} has {norm} norm, but the run uses {config.norm} norm; add --norm "
                f"{norm}."
            )
        for name, value in config.size.items():
            if (known := model.options.get(name, value)) != value:
                raise DpedkitError(
                    f"{config.init} has {known} {name}, but the run asks for {value}; leave out "
                    f"--{name}."
                )
        return model
    norms = {"norm": config.norm} if config.generator.startswith("resnet") else {}
    generator = build_generator(config.generator, **norms, **config.size)
    if isinstance(generator, ColourResidual):
        generator.set_colour_map(fit_colour_map_to(train))
    if isinstance(generator, PhotoAware):
        generator.photo_map = fit_photo_map_to(train)
    return generator
