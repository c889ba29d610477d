"""The generator's loss: the weighted terms of paper, eq. 8, in the definitions of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpedkit.train import losses
from dpedkit.train.config import TrainConfig
from dpedkit.train.vgg import Vgg19


@dataclass(frozen=True)
class _Definitions:
    content: Callable[[Tensor, Tensor], Tensor]
    colour: Callable[[Tensor, Tensor], Tensor]
    texture: Callable[[Tensor], Tensor]
    tv: Callable[[Tensor], Tensor]


_DEFINITIONS = {
    "paper": _Definitions(
        losses.content_paper, losses.colour_paper, losses.texture_paper, losses.tv_paper
    ),
    "authors": _Definitions(
        losses.content_authors, losses.colour_authors, losses.texture_authors, losses.tv_authors
    ),
}


class Objective:
    """Computes the terms of the loss that have a weight.

    Parameters
    ----------
    config : TrainConfig
    vgg : Vgg19 or None
        None compares structure and colours (MS-SSIM + L1) instead of features.
    """

    def __init__(self, config: TrainConfig, vgg: Vgg19 | None) -> None:
        self.config, self.vgg = config, vgg
        self.define = _DEFINITIONS[config.losses]

    def terms(self, enhanced: Tensor, target: Tensor, log_odds: Tensor | None) -> dict[str, Tensor]:
        """The weighted terms, whose sum is the loss.

        Parameters
        ----------
        enhanced, target : (N, 3, S, S) tensor
            The generator's output and the DSLR patches.
        log_odds : (N,) tensor or None
            What the discriminator says of `enhanced`; None without a discriminator.

        Returns
        -------
        dict of str to () tensor
            Under "content", "texture", "colour", "tv" and "pixel".
        """
        config, terms = self.config, {}
        if config.content_weight:
            terms["content"] = config.content_weight * self._content(enhanced, target)
        if config.texture_weight and log_odds is not None:
            terms["texture"] = config.texture_weight * self.define.texture(log_odds)
        if config.colour_weight:
            terms["colour"] = config.colour_weight * self.define.colour(enhanced, target)
        if config.tv_weight:
            terms["tv"] = config.tv_weight * self.define.tv(enhanced)
        if config.pixel_weight:
            terms["pixel"] = config.pixel_weight * losses.pixel_l1(enhanced, target)
        return terms

    def _content(self, enhanced: Tensor, target: Tensor) -> Tensor:
        if self.vgg is None:
            return losses.content_msssim_l1(enhanced, target)
        with torch.no_grad():
            target_features = self.vgg(target)
        return self.define.content(self.vgg(enhanced).float(), target_features.float())
