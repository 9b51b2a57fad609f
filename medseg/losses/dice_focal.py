"""Soft Dice plus focal loss: for structures a network finds hard among much that is easy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from torch import Tensor

from medseg.losses import dice
from medseg.losses._overlap_sums import first_structure, overlap_sums


class Settings(dice.Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    dice_weight, focal_weight : float
    gamma : float
        How much less voxels weigh that are already right; at least 1.
    """

    dice_weight: float = 1.0
    focal_weight: float = 1.0
    gamma: Annotated[float, msgspec.Meta(ge=1)] = 2.0


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Dice of the structures plus focal loss of all classes (Lin et al., ICCV 2017)."""

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        sums = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        first = first_structure(settings.regions)
        overlap = dice.dice_of(sums, batch=settings.batch_dice, first=first)
        focal = sums.cross_entropy(gamma=settings.gamma)
        return (settings.dice_weight * overlap + settings.focal_weight * focal).float()

    return loss
