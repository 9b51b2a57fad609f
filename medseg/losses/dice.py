"""Soft Dice (Milletari et al., 3DV 2016): overlap, whatever the size of a structure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from torch import Tensor

from medseg.losses._overlap_sums import OverlapSums, Regions, first_structure, overlap_sums

SMOOTH = 1e-5


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    batch_dice : bool
        Whether Dice is taken over the whole batch instead of patch by patch.
    regions : tuple of tuple of int
        Class indices of each region when channels are overlapping regions (sigmoid); none for
        classes that exclude each other (softmax).
    """

    batch_dice: bool = True
    regions: Regions = ()


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """One minus the mean soft Dice of all structures."""

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        sums = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        first = first_structure(settings.regions)
        return dice_of(sums, batch=settings.batch_dice, first=first).float()

    return loss


def dice_of(sums: OverlapSums, *, batch: bool, first: int = 1) -> Tensor:
    """One minus the mean soft Dice of the classes from `first` on.

    Parameters
    ----------
    sums : OverlapSums
    batch : bool
        Whether Dice is taken over the whole batch instead of patch by patch.
    first : int, default 1
        1 leaves the background out.

    Returns
    -------
    torch.Tensor
        A scalar, 0 to 1.

    Notes
    -----
    ``1 - (2 shared + s) / (predicted + true + s)`` with s = 1e-5, without squares in the
    denominator, as in MONAI's `DiceLoss`. A structure that is absent counts 1 wherever the
    network gives it any volume.
    """
    shared, predicted, true = sums.sums(batch=batch, first=first)
    return (1 - (2 * shared + SMOOTH) / (predicted + true + SMOOTH)).mean()
