"""Hausdorff loss plus Dice (Karimi and Salcudean, IEEE TMI 39, 2020): no far-off mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from torch import Tensor

from medseg.losses._overlap_sums import overlap_sums
from medseg.losses._structures import Spacing, distance_outside, structures
from medseg.losses.dice import dice_of


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    dice_weight, hausdorff_weight : float
    power : float
        Of the distances: the larger, the more the furthest error counts.
    logarithm : bool
        Whether log(1 + x) of the second term is taken, which keeps it within reach of Dice.
    spacing : tuple of float
        Edge lengths of a voxel along the network's axes, for distances in mm; by default they
        are in voxels.
    batch_dice : bool
        Whether Dice is taken over the whole batch instead of patch by patch.
    """

    dice_weight: float = 1.0
    hausdorff_weight: float = 1.0
    power: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    logarithm: bool = True
    spacing: Spacing = ()
    batch_dice: bool = True


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Dice, plus squared error times distances to the edges of prediction and truth.

    The second term has the value of MONAI's `HausdorffDTLoss` (or `LogHausdorffDTLoss`) where no
    voxel is ignored; it needs no SciPy.
    """

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        dice = dice_of(overlap_sums(logits_BLIJK, labels_BIJK), batch=settings.batch_dice)
        maps = structures(logits_BLIJK, labels_BIJK)
        predicted = maps.probability.detach() > 0.5
        weight = _to_edge(predicted, settings) + _to_edge(maps.truth, settings)
        error = (maps.probability - maps.truth.float()) ** 2
        term = (error * weight).sum() / maps.voxels
        term = term.log1p() if settings.logarithm else term
        return (settings.dice_weight * dice + settings.hausdorff_weight * term).float()

    return loss


def _to_edge(mask_BSIJK: Tensor, settings: Settings) -> Tensor:
    """Distance to each mask's edge, from both sides, raised to the power; 0 if it has none."""
    present = mask_BSIJK.flatten(2).any(2)[(..., *(None,) * (mask_BSIJK.ndim - 2))]
    inside = distance_outside(~mask_BSIJK, settings.spacing) * present
    return (distance_outside(mask_BSIJK, settings.spacing) + inside) ** settings.power
