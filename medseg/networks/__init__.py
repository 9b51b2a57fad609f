"""Architectures, one file each; the file's name is the public name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from medseg.errors import PlanError
from medseg.planning.plan import Component, Plan, settings_of
from medseg.planning.stages import Stages
from medseg.runtime import registry

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "medseg.networks"


def names() -> tuple[str, ...]:
    """Names of the networks there are."""
    return registry.names(PACKAGE)


def suggestion(
    name: str, changes: Mapping[str, Any] | None = None
) -> Callable[[Stages], Component]:
    """How an architecture turns the planner's stages into its settings.

    Parameters
    ----------
    name : str
        Of a file of this package.
    changes : mapping, optional
        Settings a person wants otherwise; dots reach into structures (``"encoder.name"``).

    Returns
    -------
    callable
        Takes `Stages`, gives a `Component`; raises `PlanError` when a change does not fit.

    Raises
    ------
    PlanError
        When the name is unknown.
    """
    module = registry.load(PACKAGE, name)

    def choose(stages: Stages) -> Component:
        settings = msgspec.json.decode(msgspec.json.encode(module.suggest(stages)))
        for key, value in (changes or {}).items():
            _change(settings, key, value)
        component = Component(name=name, settings=settings)
        settings_of(component, module.Settings, package=PACKAGE)
        return component

    return choose


def _change(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set one value, in place; an unknown key stays in, for the strict decoding to name."""
    *path, last = key.split(".")
    for step in path:
        settings = settings.setdefault(step, {})
        if not isinstance(settings, dict):
            raise PlanError(f"setting '{key}' of a network: '{step}' holds no further settings")
    settings[last] = value


def build_network(plan: Plan, *, classes: int) -> nn.Module:
    """The network a plan asks for, freshly initialised.

    Parameters
    ----------
    plan : Plan
        Its ``network`` names a file of this package and that file's settings.
    classes : int

    Returns
    -------
    torch.nn.Module
        Takes ``image_BCIJK``, gives ``logits_BLIJK`` (a list of them while training with deep
        supervision). With a plane in the plan it is a 2-D network that expects one voxel across.

    Raises
    ------
    PlanError
        When the name or a setting is unknown, or does not suit the plan's patch.
    """
    from medseg.networks.blocks.slice_wise import SliceWise

    module = registry.load(PACKAGE, plan.network.name)
    settings = settings_of(plan.network, module.Settings, package=PACKAGE)
    network: nn.Module = module.build(
        settings,
        spatial_dims=plan.spatial_dims,
        in_channels=len(plan.channels),
        out_channels=classes,
    )
    if hasattr(module, "check_patch"):
        sizes = (n for axis, n in enumerate(plan.patch) if axis != plan.slice_axis)
        module.check_patch(settings, tuple(sizes))
    return network if plan.slice_axis is None else SliceWise(network, plan.slice_axis)
