"""One training step: the generator's, then the discriminator's (paper, section III)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpedkit.models.discriminator import Discriminator, to_grey
from dpedkit.train.config import TrainConfig
from dpedkit.train.feed import StepData
from dpedkit.train.forward import TrainingForward, lower_precision
from dpedkit.train.learner import Learner, clip_gradients
from dpedkit.train.losses import discriminator_loss
from dpedkit.train.objective import Objective
from dpedkit.train.processes import Processes
from dpedkit.train.tally import ACCURACY, DISCRIMINATOR_LOSS


class TrainingStep:
    """Changes the networks of a learner, one step a call.

    Nothing in a step waits for the device: what it was like comes back as a row of numbers there.

    Attributes
    ----------
    columns : list of str
        Names of those numbers: the weighted terms of the generator's loss, then the
        discriminator's loss and accuracy where there is one.
    """

    def __init__(
        self, config: TrainConfig, learner: Learner, objective: Objective, processes: Processes
    ) -> None:
        self.config, self.learner, self.objective = config, learner, objective
        forward = TrainingForward(learner.generator, config.precision)
        self.discriminator = learner.discriminator
        verdicts = None
        if self.discriminator is not None:
            verdicts = _Verdicts(self.discriminator, config.precision)
        if config.compile:
            for network in (forward, verdicts, objective.vgg):
                if network is not None:
                    # The last batch of an evaluation may be smaller. Torch would take that for a
                    # sign that sizes vary, and compile slower code, for any size, for training too.
                    network.compile(dynamic=False)
        # Two networks, two exchanges of gradients: each is updated by itself.
        example = torch.zeros(2, 3, learner.patch_size, learner.patch_size, device=learner.device)
        self.forward = processes.wrap(forward, example)
        shown = 1 if config.losses == "authors" else 2
        self.verdicts = verdicts and processes.wrap(verdicts, *[example] * shown)
        self.verdict_alone = verdicts
        own = [] if verdicts is None else [DISCRIMINATOR_LOSS, ACCURACY]
        self.columns = [*(f"{name} loss" for name in objective.names), *own]

    def __call__(self, data: StepData) -> Tensor:
        """Learn from a batch: returns (columns,) float32."""
        enhanced, terms = self.generator_step(data)
        row = list(terms.values())
        if self.discriminator is not None:
            row += self.discriminator_step(data, enhanced)
        self.learner.update_average()
        return torch.stack(row).detach()

    def generator_step(self, data: StepData) -> tuple[Tensor, dict[str, Tensor]]:
        """Lower the weighted sum of the terms (eq. 8); returns the enhanced patches and the terms.

        The enhanced patches are those from before the update.
        """
        enhanced = self.forward(data.phone)
        log_odds = None
        if self.verdict_alone is not None:
            # The discriminator is only asked; its own gradients are not wanted here.
            self.verdict_alone.requires_grad_(False)
            (log_odds,) = self.verdict_alone(enhanced)
            self.verdict_alone.requires_grad_(True)
        terms = self.objective.terms(enhanced, data.dslr, log_odds, data.features)
        self.learner.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        clip_gradients(self.learner.generator, self.config.clip)
        self.learner.optimiser.step()
        return enhanced.detach(), terms

    def discriminator_step(self, data: StepData, enhanced: Tensor) -> list[Tensor]:
        """Cross-entropy on enhanced and DSLR patches (section III-A.2); returns it and accuracy.

        With a batch of its own, the patches are enhanced anew, by the generator just updated, as
        in the authors' code. That also shows either the enhanced or the DSLR patch of each pair,
        at random, where the paper shows both.
        """
        dslr = data.dslr
        if data.other_phone is not None and data.other_dslr is not None:
            dslr = data.other_dslr
            with torch.no_grad():
                enhanced = self._enhance(data.other_phone)
        shown, truths = _shown(enhanced, dslr, data.coin)
        return self._judge_and_learn(shown, truths)

    def pretraining_step(self, data: StepData) -> Tensor:
        """Let the discriminator alone learn to tell phone from DSLR patches: (2,) as above."""
        shown, truths = _shown(data.phone, data.dslr, data.coin)
        return torch.stack(self._judge_and_learn(shown, truths)).detach()

    def _judge_and_learn(self, shown: list[Tensor], truths: list[Tensor]) -> list[Tensor]:
        optimiser = self.learner.discriminator_optimiser
        assert self.verdicts is not None and self.discriminator is not None
        assert optimiser is not None
        verdicts = self.verdicts(*shown)
        losses = [discriminator_loss(v, truth) for v, truth in zip(verdicts, truths, strict=True)]
        right = [((v > 0) == truth) for v, truth in zip(verdicts, truths, strict=True)]
        loss = torch.stack(losses).mean()
        optimiser.zero_grad()
        loss.backward()
        clip_gradients(self.discriminator, self.config.clip)
        optimiser.step()
        return [loss.detach(), torch.cat(right).float().mean()]

    def _enhance(self, phone: Tensor) -> Tensor:
        """Without gradients, so without the other processes."""
        forward = self.forward
        if isinstance(forward, nn.parallel.DistributedDataParallel):
            forward = forward.module
        enhanced: Tensor = forward(phone)
        return enhanced


class _Verdicts(nn.Module):
    """The discriminator on several batches in one call: DDP counts calls, not batches."""

    def __init__(self, discriminator: Discriminator, precision: str) -> None:
        super().__init__()
        self.discriminator, self.precision = discriminator, precision

    def forward(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """RGB patches, (N, 3, S, S) each -> log-odds that a DSLR took them, (N,) float32 each."""
        verdicts = []
        for images in batches:
            with lower_precision(self.precision, images.device):
                verdicts.append(self.discriminator(to_grey(images)))
        return tuple(verdict.float() for verdict in verdicts)


def _shown(
    enhanced: Tensor, dslr: Tensor, coin: Tensor | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Batches to show the discriminator, and which of them a DSLR took."""
    if coin is not None:
        return [torch.where(coin[:, None, None, None], dslr, enhanced)], [coin]
    real = torch.ones(len(dslr), dtype=torch.bool, device=dslr.device)
    return [dslr, enhanced], [real, ~real]
