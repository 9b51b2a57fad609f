"""Soft Dice plus cross-entropy, in equal parts: the default."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from torch import Tensor

from medseg.losses._overlap_sums import Regions, first_structure, overlap_sums
from medseg.losses.dice import dice_of


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    dice_weight, cross_entropy_weight : float
    batch_dice : bool
        Whether Dice is taken over the whole batch instead of patch by patch.
    regions : tuple of tuple of int
        Class indices of each region when channels are overlapping regions (sigmoid); none for
        classes that exclude each other (softmax).
    """

    dice_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    batch_dice: bool = True
    regions: Regions = ()


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Dice of the structures (Milletari et al., 3DV 2016) plus cross-entropy of all classes.

    The same value as MONAI's `DiceCELoss`, from one softmax and no one-hot labels.
    """

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        found = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        first = first_structure(settings.regions)
        dice = dice_of(found, batch=settings.batch_dice, first=first)
        entropy = found.cross_entropy()
        return (settings.dice_weight * dice + settings.cross_entropy_weight * entropy).float()

    return loss
