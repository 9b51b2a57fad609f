"""Soft clDice plus Dice (Shit et al., CVPR 2021): vessels and airways that stay connected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from monai.losses.cldice import soft_skel
from torch import Tensor

from medseg.losses._overlap_sums import overlap_sums
from medseg.losses._structures import structures
from medseg.losses.dice import dice_of

SMOOTH = 1.0


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    dice_weight, centreline_weight : float
    iterations : int
        Peelings until the skeleton is left: at least the radius, in voxels, of the thickest
        vessel.
    batch_dice : bool
        Whether Dice is taken over the whole batch instead of patch by patch.
    """

    dice_weight: float = 0.5
    centreline_weight: float = 0.5
    iterations: Annotated[int, msgspec.Meta(ge=0)] = 3
    batch_dice: bool = True


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Dice, plus one minus the harmonic mean of two overlaps of each structure.

    They are the share of the predicted skeleton that lies in the truth, and that of the true
    skeleton in the prediction. Skeletons are MONAI's; MONAI's own loss adds up all structures
    before dividing, where the largest hides the others, and knows no ignored voxels.
    """

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        dice = dice_of(overlap_sums(logits_BLIJK, labels_BIJK), batch=settings.batch_dice)
        maps = structures(logits_BLIJK, labels_BIJK)
        term = _centreline(maps.probability, maps.truth.float(), settings)
        return (settings.dice_weight * dice + settings.centreline_weight * term).float()

    return loss


def _centreline(predicted_BSIJK: Tensor, true_BSIJK: Tensor, settings: Settings) -> Tensor:
    """One minus the mean soft clDice of all structures."""
    precision = _share(soft_skel(predicted_BSIJK, settings.iterations), true_BSIJK, settings)
    sensitivity = _share(soft_skel(true_BSIJK, settings.iterations), predicted_BSIJK, settings)
    return (1 - 2 * precision * sensitivity / (precision + sensitivity)).mean()


def _share(skeleton_BSIJK: Tensor, mask_BSIJK: Tensor, settings: Settings) -> Tensor:
    """Share of each skeleton that lies in its mask."""
    space = tuple(range(2, skeleton_BSIJK.ndim))
    over = (0, *space) if settings.batch_dice else space
    inside = (skeleton_BSIJK * mask_BSIJK).sum(over)
    return (inside + SMOOTH) / (skeleton_BSIJK.sum(over) + SMOOTH)
