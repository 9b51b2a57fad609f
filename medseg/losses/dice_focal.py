"""Soft Dice plus focal loss: for structures a network finds hard among much that is easy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from torch import Tensor

from medseg.losses import dice
from medseg.losses._overlap_sums import (
    ClassWeights,
    check_weights,
    first_structure,
    overlap_sums,
    voxel_weights,
)


class Settings(dice.Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    dice_weight, focal_weight : float
    gamma : float
        How much less voxels weigh that are already right; at least 1.
    class_weights : tuple of float
        Of the background and of every label in the focal loss (its "alpha"); Dice counts each label
        alike.
    """

    dice_weight: float = 1.0
    focal_weight: float = 1.0
    gamma: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    class_weights: ClassWeights = ()


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Dice of the structures plus focal loss of all classes (Lin et al., ICCV 2017)."""
    check_weights(settings.class_weights, settings.regions)

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        sums = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        weights = voxel_weights(labels_BIJK, settings.class_weights, channels=logits_BLIJK.shape[1])
        first = first_structure(settings.regions)
        overlap = dice.dice_of(sums, batch=settings.batch_dice, first=first)
        focal = sums.cross_entropy(gamma=settings.gamma, weights_BIJK=weights)
        return (settings.dice_weight * overlap + settings.focal_weight * focal).float()

    return loss
