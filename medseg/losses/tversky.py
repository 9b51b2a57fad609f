"""Tversky loss (Salehi et al., MLMI 2017): Dice with a weight for each kind of error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from torch import Tensor

from medseg.losses import dice
from medseg.losses._overlap_sums import OverlapSums, first_structure, overlap_sums

SMOOTH = 1e-5
ErrorWeight = Annotated[float, msgspec.Meta(ge=0)]


class Settings(dice.Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    false_positives, false_negatives : float
        Weight of each kind of error, at least 0; one half each is Dice.
    """

    false_positives: ErrorWeight = 0.3
    false_negatives: ErrorWeight = 0.7


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """One minus the mean Tversky index of all structures."""

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        sums = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        return index_of(sums, settings).neg().add(1).mean().float()

    return loss


def index_of(sums: OverlapSums, settings: Settings) -> Tensor:
    """Tversky index of each structure.

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
    shared, predicted, true = sums.sums(batch=settings.batch_dice, first=first)
    errors = settings.false_positives * (predicted - shared)
    errors = errors + settings.false_negatives * (true - shared)
    return (shared + SMOOTH) / (shared + errors + SMOOTH)
