"""Losses, one file each; the file's name is the public name.

Beside the files there are the entry points ``medseg.losses`` of installed packages, MONAI's classes
(``"monai:DiceFocalLoss"``), and the classes of any installed package (``"pkg.losses:Loss"``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from medseg.errors import PlanError, reason
from medseg.planning.plan import Component, Plan, Regions, settings_of
from medseg.runtime import class_parts, registry
from medseg.volume.label_table import IGNORED_CLASS

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""Takes ``logits_BLIJK`` and class indices, gives a scalar."""

PACKAGE = "medseg.losses"
IGNORE = IGNORED_CLASS
"""Class index of voxels that do not count: no loss, no gradient."""


def names() -> tuple[str, ...]:
    """Names of the losses there are."""
    return registry.names(PACKAGE)


def load_part(name: str) -> Any:
    """The loss called `name`: a module with `Settings` and `build`.

    Parameters
    ----------
    name : str
        Of a file of this package, an entry point, or a class.

    Raises
    ------
    PlanError
        When there is no such loss, or it cannot be imported.
    """
    if not class_parts.is_class_name(name):
        return registry.load(PACKAGE, name)
    from medseg.losses._class_losses import ClassLoss

    return ClassLoss(name)


def loss_choice(name: str, *, regions: Regions = ()) -> Component:
    """The loss called `name`, with its own default settings, as a plan writes it.

    Parameters
    ----------
    name : str
        As for :func:`load_part`, or of a loss that was given in Python.
    regions : tuple of tuple of int, optional
        Class indices of each channel of the network, when its channels are regions.

    Raises
    ------
    PlanError
        When there is no such loss, or it knows no regions and there are some; the message lists
        those that would do.
    """
    is_given = class_parts.is_given(name)
    if not is_given:
        load_part(name)
    if regions and (is_given or not _supports_regions(name)):
        suitable = ", ".join(other for other in names() if _supports_regions(other))
        raise PlanError(f"loss '{name}' cannot learn regions; choose one that can: {suitable}")
    return Component(name=name)


def _supports_regions(name: str) -> bool:
    """Whether a loss has the setting `regions`."""
    return "regions" in load_part(name).Settings.__struct_fields__


def check_takes_weights(name: str) -> None:
    """Refuse a loss that cannot weigh classes.

    Parameters
    ----------
    name : str
        As for :func:`loss_choice`.

    Raises
    ------
    PlanError
        When it has no setting `class_weights`; the message lists those that do.
    """
    if class_parts.is_given(name) or not _weighs_classes(name):
        suitable = ", ".join(other for other in names() if _weighs_classes(other))
        raise PlanError(
            f"loss '{name}' takes no class weights; choose one that does: {suitable}, or leave"
            " --class-weights out"
        )


def _weighs_classes(name: str) -> bool:
    """Whether a loss has the setting `class_weights`."""
    return "class_weights" in load_part(name).Settings.__struct_fields__


def build_loss(plan: Plan, *, given: Loss | None = None) -> Loss:
    """The loss a plan asks for: ``loss(logits_BLIJK, labels_BIJK)`` gives a scalar.

    Parameters
    ----------
    plan : Plan
        Its ``loss`` names a loss and its settings; its ``regions``, if any, become one of them.
    given : callable, optional
        A person's own loss of MONAI's calling form, in place of the one that the plan names: it
        takes logits (B, L, I, J, K) and class indices (B, 1, I, J, K) as float32.

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
    if given is not None:
        from medseg.losses._class_losses import on_monai_form

        return on_monai_form(given)
    part = load_part(plan.loss.name)
    loss: Loss = part.build(settings_of(_with_regions(plan), part.Settings, package=PACKAGE))
    return loss


def try_loss(loss: Loss, logits_BLIJK: Tensor, *, name: str) -> None:
    """Refuse a loss that cannot learn from logits and class indices.

    Parameters
    ----------
    loss : callable
        As :func:`build_loss` gives it.
    logits_BLIJK : torch.Tensor
        Such as the network gives.
    name : str

    Raises
    ------
    PlanError
        When it fails, or gives no single number with a gradient.
    """
    logits = logits_BLIJK.detach().float().requires_grad_()
    labels_BIJK = logits.new_zeros(logits.shape[0], *logits.shape[2:])
    try:
        value = loss(logits, labels_BIJK)
        is_number = value.numel() == 1 and value.requires_grad
        fault = f"it gives a tensor of shape {tuple(value.shape)}, or one without a gradient"
    except Exception as error:  # noqa: BLE001 - another's code; it may raise anything
        is_number = False
        fault = reason(error)
    if not is_number:
        raise PlanError(
            f"the loss '{name}' cannot learn from logits {tuple(logits.shape)} and class indices"
            f" {(logits.shape[0], 1, *logits.shape[2:])}: {fault}; MONAI's losses need"
            " to_onehot_y=True and softmax=True",
            code="LOSS",
        )


def _with_regions(plan: Plan) -> Component:
    """The plan's loss, its settings completed by the plan's regions."""
    if not plan.regions:
        return plan.loss
    loss_choice(plan.loss.name, regions=plan.regions)
    return Component(name=plan.loss.name, settings={**plan.loss.settings, "regions": plan.regions})
