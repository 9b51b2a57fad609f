"""Soft Dice plus cross-entropy, in equal parts: the default."""

from __future__ import annotations

from collections.abc import Callable

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
    dice_weight, cross_entropy_weight : float
    class_weights : tuple of float
        Of the background and of every label in the cross-entropy; Dice counts each label alike.
    """

    dice_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    class_weights: ClassWeights = ()


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Dice of the structures (Milletari et al., 3DV 2016) plus cross-entropy of all classes.

    The same value as MONAI's `DiceCELoss`, from one softmax and no one-hot labels.
    """
    check_weights(settings.class_weights, settings.regions)

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        sums = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        weights = voxel_weights(labels_BIJK, settings.class_weights, channels=logits_BLIJK.shape[1])
        first = first_structure(settings.regions)
        overlap = dice.dice_of(sums, batch=settings.batch_dice, first=first)
        entropy = sums.cross_entropy(weights_BIJK=weights)
        return (settings.dice_weight * overlap + settings.cross_entropy_weight * entropy).float()

    return loss
