"""A trial of a network, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medseg.errors import MedsegError, PlanError, reason

if TYPE_CHECKING:
    from medseg.planning import Plan


def try_network(network: nn.Module, plan: Plan, *, classes: int) -> Tensor:
    """Logits of an empty patch, once it is known that they are what a training needs.

    Parameters
    ----------
    network : torch.nn.Module
        As `build_network` gives it, on any device; it is in evaluation mode afterwards.
    plan : Plan
    classes : int

    Returns
    -------
    torch.Tensor
        ``logits_BLIJK`` of one patch.

    Raises
    ------
    PlanError
        When the network fails, or gives another number of channels or another grid.
    """
    name, channels = plan.network.name, plan.inputs
    voxels = " x ".join(map(str, plan.patch))
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    image_BCIJK = torch.zeros(1, channels, *plan.patch, device=device)
    try:
        with torch.no_grad():
            logits = network.eval()(image_BCIJK)
    except MedsegError:
        raise
    except Exception as error:  # another's code; it may raise anything
        raise PlanError(
            f"the network '{name}' fails on a patch of {voxels} voxels with {channels} channel(s):"
            f" {reason(error)}; change the patch in the plan, or the network's settings",
            code="NETWORK",
        ) from error
    if isinstance(logits, list):
        raise PlanError(
            f"the network '{name}' gives {len(logits)} outputs in evaluation mode and is to give"
            " one; switch its deep supervision off",
            code="NETWORK",
        )
    if not isinstance(logits, Tensor) or logits.shape != (1, classes, *plan.patch):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise PlanError(
            f"the network '{name}' gives {shape} for a patch of {voxels} voxels and is to give"
            f" {(1, classes, *plan.patch)}: {classes} channels, on the voxels of the patch",
            code="NETWORK",
        )
    return logits
