"""Losses, one file each; the file's name is the public name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medseg.planning.plan import Plan, settings_of
from medseg.runtime import catalogue

if TYPE_CHECKING:
    from torch import Tensor

    Loss = Callable[[Tensor, Tensor], Tensor]

ROOM = "medseg.losses"


def build_loss(plan: Plan) -> Loss:
    """The loss a plan asks for: ``loss(logits_BLIJK, labels_BIJK)`` gives a scalar.

    Raises
    ------
    PlanError
        When the name or a setting is unknown.
    """
    part = catalogue.load(ROOM, plan.loss.name)
    loss: Loss = part.build(settings_of(plan.loss, part.Settings, room=ROOM))
    return loss
