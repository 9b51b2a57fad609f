"""Losses, one file each; the file's name is the public name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medseg.errors import PlanError
from medseg.planning.plan import Component, Plan, Regions, settings_of
from medseg.runtime import registry
from medseg.volume.label_table import IGNORED_CLASS

if TYPE_CHECKING:
    from torch import Tensor

    Loss = Callable[[Tensor, Tensor], Tensor]

PACKAGE = "medseg.losses"
IGNORE = IGNORED_CLASS
"""Class index of voxels that do not count: no loss, no gradient."""


def names() -> tuple[str, ...]:
    """Names of the losses there are."""
    return registry.names(PACKAGE)


def loss_choice(name: str, *, regions: Regions = ()) -> Component:
    """The loss called `name`, with its own default settings, as a plan writes it.

    Parameters
    ----------
    name : str
        File name in this package.
    regions : tuple of tuple of int, optional
        Class indices of each channel of the network, when its channels are regions.

    Raises
    ------
    PlanError
        When there is no such loss, or it knows no regions and there are some; the message lists
        those that would do.
    """
    registry.load(PACKAGE, name)
    if regions and not _supports_regions(name):
        suitable = ", ".join(other for other in names() if _supports_regions(other))
        raise PlanError(f"loss '{name}' cannot learn regions; choose one that can: {suitable}")
    return Component(name=name)


def _supports_regions(name: str) -> bool:
    """Whether a loss has the setting `regions`."""
    return "regions" in registry.load(PACKAGE, name).Settings.__struct_fields__


def build_loss(plan: Plan) -> Loss:
    """The loss a plan asks for: ``loss(logits_BLIJK, labels_BIJK)`` gives a scalar.

    Parameters
    ----------
    plan : Plan
        Its ``loss`` names a file of this package and that file's settings; its ``regions``, if any,
        become one of them.

    Returns
    -------
    callable
        Takes logits of any floating type and class indices of any type, in 2-D or 3-D. Voxels
        labelled `IGNORE` do not count.

    Raises
    ------
    PlanError
        When the name or a setting is unknown, or the loss knows no regions and the plan has some.
    """
    module = registry.load(PACKAGE, plan.loss.name)
    loss: Loss = module.build(settings_of(_with_regions(plan), module.Settings, package=PACKAGE))
    return loss


def _with_regions(plan: Plan) -> Component:
    """The plan's loss, its settings completed by the plan's regions."""
    if not plan.regions:
        return plan.loss
    loss_choice(plan.loss.name, regions=plan.regions)
    return Component(name=plan.loss.name, settings={**plan.loss.settings, "regions": plan.regions})
