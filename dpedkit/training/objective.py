"""The generator's loss: the weighted terms of paper, eq. 8, in the definition of a run."""

from __future__ import annotations

import torch
from torch import Tensor

from dpedkit import losses
from dpedkit.core.device import autocast
from dpedkit.models.vgg import VGG19
from dpedkit.training.config import TrainConfig


class Objective:
    """Computes the terms of the loss that have a weight.

    Parameters
    ----------
    config : TrainConfig
    vgg : VGG19 or None
        None compares structure and colours (MS-SSIM + L1) instead of features.
    parts : int
        Into how many parts a batch is divided among processes. A term that is a sum over the batch
        counts for all of them, so that the mean over the processes is the loss of the whole batch.
    """

    def __init__(self, config: TrainConfig, vgg: VGG19 | None, parts: int = 1) -> None:
        self.config, self.vgg = config, vgg
        self.content = None if vgg is None else losses.ContentLoss(vgg, config.losses)
        self.content_without_vgg = losses.MSSSIML1Loss()
        self.texture = losses.TextureLoss(config.losses)
        self.colour = losses.ColourLoss(config.losses)
        self.tv = losses.TVLoss(config.losses)
        self.texture_weight = config.texture_weight
        if config.losses == "authors":
            self.texture_weight *= parts

    @property
    def names(self) -> list[str]:
        """The terms that `terms` gives, in its order, while there is a discriminator."""
        weights = {
            "content": self.config.content_weight,
            "texture": self.config.texture_weight,
            "colour": self.config.colour_weight,
            "tv": self.config.tv_weight,
            "pixel": self.config.pixel_weight,
        }
        return [name for name, weight in weights.items() if weight]

    def features(self, target: Tensor) -> Tensor | None:
        """What the content loss compares of DSLR patches; None where it looks at their pixels."""
        if self.vgg is None or not self.config.content_weight:
            return None
        with torch.no_grad(), autocast(self.config.precision, target.device):
            found: Tensor = self.vgg(target)
        return found

    def terms(
        self,
        enhanced: Tensor,
        target: Tensor,
        logits: Tensor | None,
        target_features: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms, whose sum is the loss.

        Parameters
        ----------
        enhanced, target : (N, 3, S, S) tensor
            The generator's output and the DSLR patches.
        logits : (N,) tensor or None
            The discriminator's output for `enhanced`; None without a discriminator.
        target_features : tensor, optional
            From `features`, where they are known already.

        Returns
        -------
        dict of str to () tensor
            Under "content", "texture", "colour", "tv" and "pixel".
        """
        config, terms = self.config, {}
        if config.content_weight:
            terms["content"] = config.content_weight * self._content(
                enhanced, target, target_features
            )
        if config.texture_weight and logits is not None:
            terms["texture"] = self.texture_weight * self.texture(logits)
        if config.colour_weight:
            terms["colour"] = config.colour_weight * self.colour(enhanced, target)
        if config.tv_weight:
            terms["tv"] = config.tv_weight * self.tv(enhanced)
        if config.pixel_weight:
            terms["pixel"] = config.pixel_weight * losses.pixel_l1(enhanced, target)
        return terms

    def _content(self, enhanced: Tensor, target: Tensor, target_features: Tensor | None) -> Tensor:
        if self.content is None:
            loss: Tensor = self.content_without_vgg(enhanced, target)
            return loss
        if target_features is None:
            target_features = self.features(target)
        assert target_features is not None
        with autocast(self.config.precision, enhanced.device):
            features = self.content.network(enhanced)
        return self.content.distance(features.float(), target_features.float())
