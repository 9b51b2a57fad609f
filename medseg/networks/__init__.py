"""Architectures, one file each; the file's name is the public name.

Beside the files there are the entry points ``medseg.networks`` of installed packages, MONAI's
classes (``"monai:VNet"``), and the classes of any installed package (``"pkg.nets:Net"``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from medseg.errors import PlanError
from medseg.planning.plan import Component, Plan, settings_of
from medseg.planning.stages import Stages
from medseg.runtime import class_parts, registry

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "medseg.networks"


def names() -> tuple[str, ...]:
    """Names of the networks there are."""
    return registry.names(PACKAGE)


def load_part(name: str) -> Any:
    """The network called `name`: what :class:`medseg.networks.protocol.Architecture` describes.

    Parameters
    ----------
    name : str
        Of a file of this package, an entry point, or a class.

    Raises
    ------
    PlanError
        When there is no such network, or it cannot be imported.
    """
    if not class_parts.is_class_name(name):
        return registry.load(PACKAGE, name)
    from medseg.networks.adapters.class_network import ClassNetwork

    return ClassNetwork(name)


def suggestion(
    name: str, changes: Mapping[str, Any] | None = None
) -> Callable[[Stages], Component]:
    """How an architecture turns the planner's stages into its settings.

    Parameters
    ----------
    name : str
        As for :func:`load_part`. One without `suggest` gets those of the stages that are settings
        of it.
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
    part = load_part(name)

    def choose(stages: Stages) -> Component:
        settings = msgspec.json.decode(msgspec.json.encode(_suggested(part, stages)))
        for key, value in (changes or {}).items():
            _change(settings, key, value)
        component = Component(name=name, settings=settings)
        settings_of(component, part.Settings, package=PACKAGE)
        return component

    return choose


def _suggested(part: Any, stages: Stages) -> Any:
    """Settings a part suggests itself, or the stages under the names of its settings."""
    if hasattr(part, "suggest"):
        return part.suggest(stages)
    planned = msgspec.structs.asdict(stages)
    return {name: planned[name] for name in part.Settings.__struct_fields__ if name in planned}


def _change(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set one value, in place; an unknown key stays in, for the strict decoding to name."""
    *path, last = key.split(".")
    for step in path:
        settings = settings.setdefault(step, {})
        if not isinstance(settings, dict):
            raise PlanError(f"setting '{key}' of a network: '{step}' holds no further settings")
    settings[last] = value


def build_network(plan: Plan, *, classes: int, given: nn.Module | None = None) -> nn.Module:
    """The network a plan asks for, freshly initialised.

    Parameters
    ----------
    plan : Plan
        Its ``network`` names a file of this package, an entry point or a class, and its settings.
    classes : int
    given : torch.nn.Module, optional
        A person's own network, in place of the one that the plan names; it is used as it is.

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
    from medseg.networks.adapters.any_size import AnySize
    from medseg.networks.blocks.slice_wise import SliceWise

    network = _built(plan, classes) if given is None else AnySize(given, plan.spatial_dims)
    return network if plan.slice_axis is None else SliceWise(network, plan.slice_axis)


def build_component(
    component: Component, *, spatial_dims: int, in_channels: int, out_channels: int
) -> nn.Module:
    """A network by name and settings, freshly initialised.

    Parameters
    ----------
    component : Component
    spatial_dims, in_channels, out_channels : int

    Raises
    ------
    PlanError
        When the name or a setting is unknown.
    """
    part = load_part(component.name)
    settings = settings_of(component, part.Settings, package=PACKAGE)
    network: nn.Module = part.build(
        settings, spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels
    )
    return network


def _built(plan: Plan, classes: int) -> nn.Module:
    """The network that the plan names, for the axes it convolves along."""
    network = build_component(
        plan.network,
        spatial_dims=plan.spatial_dims,
        in_channels=plan.inputs,
        out_channels=classes,
    )
    part = load_part(plan.network.name)
    if hasattr(part, "check_patch"):
        sizes = (n for axis, n in enumerate(plan.patch) if axis != plan.slice_axis)
        settings = settings_of(plan.network, part.Settings, package=PACKAGE)
        part.check_patch(settings, tuple(sizes))
    return network
