"""Tversky loss (Salehi et al., MLMI 2017): Dice with a price for each kind of error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from torch import Tensor

from medseg.losses._overlap_sums import OverlapSums, Regions, first_structure, overlap_sums

SMOOTH = 1e-5
Price = Annotated[float, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    false_positives, false_negatives : float
        Price of each kind of error, at least 0; one half each is Dice.
    batch_dice : bool
        Whether errors are counted over the whole batch instead of patch by patch.
    regions : tuple of tuple of int
        Class indices of each region when channels are overlapping regions (sigmoid); none for
        classes that exclude each other (softmax).
    """

    false_positives: Price = 0.3
    false_negatives: Price = 0.7
    batch_dice: bool = True
    regions: Regions = ()


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """One minus the mean Tversky index of all structures."""

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        found = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        return index_of(found, settings).neg().add(1).mean().float()

    return loss


def index_of(found: OverlapSums, settings: Settings) -> Tensor:
    """Tversky index of each structure.

    Parameters
    ----------
    found : OverlapSums
    settings : Settings
        Prices, and what is added up.

    Returns
    -------
    torch.Tensor
        Of shape (B, L) or (1, L), 0 to 1.

    Notes
    -----
    ``(shared + s) / (shared + a FP + b FN + s)`` with s = 1e-5, FP the probability given to
    wrong voxels and FN the true voxels' probability that is missing.
    """
    first = first_structure(settings.regions)
    shared, predicted, true = found.sums(batch=settings.batch_dice, first=first)
    errors = settings.false_positives * (predicted - shared)
    errors = errors + settings.false_negatives * (true - shared)
    return (shared + SMOOTH) / (shared + errors + SMOOTH)
