"""Generalised Dice (Sudre et al., DLMIA 2017): classes of very unlike size count alike."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import torch
from torch import Tensor

from medseg.losses._overlap_sums import overlap_sums

SMOOTH = 1e-5


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    batch_dice : bool
        Whether sums are taken over the whole batch instead of patch by patch.
    """

    batch_dice: bool = True


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """One minus Dice of all classes together, each weighted by its size to the power of -2."""

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        sums = overlap_sums(logits_BLIJK, labels_BIJK)
        shared, predicted, true = sums.sums(batch=settings.batch_dice)
        weight = _weights(true.to(shared.dtype))
        sizes = (weight * (predicted + true)).sum(1)
        return (1 - (2 * (weight * shared).sum(1) + SMOOTH) / (sizes + SMOOTH)).mean().float()

    return loss


def _weights(true_BL: Tensor) -> Tensor:
    """Of each class, 1 for the smallest one present; an absent class counts like that one."""
    present = true_BL > 0
    smallest = torch.where(present, true_BL, torch.inf).amin(1, keepdim=True)
    smallest = torch.where(smallest.isfinite(), smallest, 1)
    return torch.where(present, smallest / true_BL.clamp_min(1), 1) ** 2
