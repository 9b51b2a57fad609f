"""Architectures, one file each; the file's name is the public name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg.planning.plan import Plan, settings_of
from medseg.runtime import catalogue

if TYPE_CHECKING:
    from torch import nn

ROOM = "medseg.networks"


def names() -> tuple[str, ...]:
    """Names of the networks there are."""
    return catalogue.names(ROOM)


def build_network(plan: Plan, *, classes: int) -> nn.Module:
    """The network a plan asks for, freshly initialised.

    Parameters
    ----------
    plan : Plan
        Its ``network`` names a file of this room and that file's settings.
    classes : int
        Labels including background.

    Returns
    -------
    torch.nn.Module
        Takes ``image_BCIJK``, gives ``logits_BLIJK`` (a list of them while training with deep
        supervision).

    Raises
    ------
    PlanError
        When the name or a setting is unknown.
    """
    part = catalogue.load(ROOM, plan.network.name)
    settings = settings_of(plan.network, part.Settings, room=ROOM)
    network: nn.Module = part.build(
        settings, spatial_dims=3, in_channels=len(plan.channels), out_channels=classes
    )
    return network
