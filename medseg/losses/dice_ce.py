"""Soft Dice plus cross-entropy, in equal parts: the default."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from monai.losses import DiceCELoss
from torch import Tensor


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    dice_weight, cross_entropy_weight : float
        Share of each term.
    batch_dice : bool
        Whether Dice is taken over the whole batch instead of patch by patch.
    """

    dice_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    batch_dice: bool = True


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """MONAI's `DiceCELoss` (Milletari et al., 3DV 2016) without the background's Dice term."""
    inner = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=settings.batch_dice,
        lambda_dice=settings.dice_weight,
        lambda_ce=settings.cross_entropy_weight,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        value: Tensor = inner(logits_BLIJK.float(), labels_BIJK.unsqueeze(1))
        return value

    return loss
