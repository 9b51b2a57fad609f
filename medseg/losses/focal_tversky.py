"""Focal Tversky loss (Abraham and Khan, ISBI 2019): small structures that are easily missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from torch import Tensor

from medseg.losses import tversky
from medseg.losses._overlap_sums import overlap_sums

LEAST = 1e-6
"""Below it the power's slope would grow without bound."""


class Settings(tversky.Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    gamma : float
        Above 0; the loss of each structure is raised to 1 / gamma, so that above 1
        a structure almost found still pulls.
    """

    gamma: Annotated[float, msgspec.Meta(gt=0)] = 4 / 3


def build(settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean over structures of ``(1 - Tversky index)^(1 / gamma)``."""

    def loss(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        sums = overlap_sums(logits_BLIJK, labels_BIJK, regions=settings.regions)
        missing = 1 - tversky.index_of(sums, settings)
        powered = missing.clamp_min(LEAST) ** (1 / settings.gamma)
        return (powered * (missing > LEAST)).mean().float()

    return loss
