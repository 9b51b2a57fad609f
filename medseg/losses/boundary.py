"""Boundary loss plus Dice (Kervadec et al., MIDL 2019): an error costs more, the further off."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from torch import Tensor

from medseg.losses._overlap_sums import overlap_sums
from medseg.losses._structures import Spacing, distance_outside, structures
from medseg.losses.dice import dice_of


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    dice_weight, boundary_weight : float
        Share of each term; the second grows with the distances.
    spacing : tuple of float
        Edge lengths of a voxel along the network's axes, for distances in mm; by default they
        are in voxels.
    batch_dice : bool
        Whether Dice is taken over the whole batch instead of patch by patch.
    """

    dice_weight: float = 1.0
    boundary_weight: float = 0.01
    spacing: Spacing = ()
    batch_dice: bool = True


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Dice, plus the mean of probability times signed distance (negative inside the truth)."""

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        dice = dice_of(overlap_sums(logits_BLIJK, labels_BIJK), batch=settings.batch_dice)
        maps = structures(logits_BLIJK, labels_BIJK)
        distance = _signed_distance(maps.truth, settings.spacing)
        term = (maps.probability * distance).sum() / maps.voxels
        return (settings.dice_weight * dice + settings.boundary_weight * term).float()

    return loss


def _signed_distance(truth_BSIJK: Tensor, spacing: Spacing) -> Tensor:
    """Distance to each structure, and minus the distance to its outside; 0 if it is absent."""
    present = truth_BSIJK.flatten(2).any(2)
    inside = distance_outside(~truth_BSIJK, spacing)
    present = present[(..., *(None,) * (inside.ndim - 2))]
    return distance_outside(truth_BSIJK, spacing) - inside * present
