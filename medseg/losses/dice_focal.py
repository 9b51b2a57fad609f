"""Soft Dice plus focal loss: for structures a network finds hard among much that is easy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from torch import Tensor

from medseg.losses._overlap_sums import Regions, first_structure, overlap_sums
from medseg.losses.dice import dice_of


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    dice_weight, focal_weight : float
    gamma : float
        How much less voxels weigh that are already right; at least 1.
    batch_dice : bool
        Whether Dice is taken over the whole batch instead of patch by patch.
    regions : tuple of tuple of int
        Class indices of each region when channels are overlapping regions (sigmoid); none for
        classes that exclude each other (softmax).
    """

    dice_weight: float = 1.0
    focal_weight: float = 1.0
    gamma: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    batch_dice: bool = True
    regions: Regions = ()


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Dice of the structures plus focal loss of all classes (Lin et al., ICCV 2017)."""

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        found = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        first = first_structure(settings.regions)
        dice = dice_of(found, batch=settings.batch_dice, first=first)
        focal = found.cross_entropy(gamma=settings.gamma)
        return (settings.dice_weight * dice + settings.focal_weight * focal).float()

    return loss
