"""Networks by the name of their class: MONAI's, or those of any installed package."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from medseg.networks.adapters.any_size import HALVINGS, MULTIPLE, AnySize
from medseg.runtime import class_parts

if TYPE_CHECKING:
    from medseg.planning import Plan
    from medseg.planning.stages import Stages

PACKAGE = "medseg.networks"
FROM_PLAN = ("spatial_dims", "in_channels", "out_channels")
"""Arguments that the plan sets, where a class takes them."""


class ClassNetwork:
    """What a file of ``medseg.networks`` offers, for a class.

    Parameters
    ----------
    name : str
        Such as ``"monai:VNet"``.

    Raises
    ------
    PlanError
        When there is no such class.
    """

    def __init__(self, name: str) -> None:
        self.network_type = class_parts.class_of(PACKAGE, name)
        self.Settings = class_parts.settings_type(self.network_type, FROM_PLAN)

    def build(
        self, settings: Any, *, spatial_dims: int, in_channels: int, out_channels: int
    ) -> nn.Module:
        """Make the network; see :class:`AnySize`."""
        network = class_parts.make(
            self.network_type,
            settings,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
        )
        return AnySize(network, spatial_dims)

    def suggest(self, stages: Stages) -> Any:
        """The planner's stages for arguments of MONAI's names that have no default.

        No more than four halvings, along all axes alike: what images are padded for.
        """
        offers = {
            "channels": stages.features[: HALVINGS + 1],
            "strides": [max(step) for step in stages.strides[1 : HALVINGS + 1]],
            "img_size": [math.ceil(n / MULTIPLE) * MULTIPLE for n in stages.patch],
        }
        required = class_parts.required(self.network_type)
        fields = self.Settings.__struct_fields__
        values = {name: offers[name] for name in offers if name in required and name in fields}
        return self.Settings(**values)


def describe_network(network: nn.Module, plan: Plan, *, classes: int) -> tuple[str, dict[str, Any]]:
    """Name and settings by which a given network can be made again, if that is possible.

    Parameters
    ----------
    network : torch.nn.Module
        Of Python. Arguments of its class are looked for in attributes of the same names.
    plan : Plan
    classes : int

    Returns
    -------
    name : str
        Of the class, once a twin made of these settings gave the same logits; ``"given:..."``
        when there is no such twin.
    settings : dict
    """
    given: tuple[str, dict[str, Any]] = f"{class_parts.GIVEN}{type(network).__name__}", {}
    name = class_parts.class_name(PACKAGE, type(network))
    if name is None:
        return given
    kind = class_parts.settings_type(type(network), FROM_PLAN)
    settings = _attributes(network, kind)
    generator = torch.Generator().manual_seed(0)
    size = [math.ceil(n / MULTIPLE) * MULTIPLE for n in plan.patch]
    if plan.slice_axis is not None:
        del size[plan.slice_axis]
    image_BCIJK = torch.randn(1, plan.inputs, *size, generator=generator)
    try:
        with torch.random.fork_rng(devices=[]):
            twin = ClassNetwork(name).build(
                kind(**settings),
                spatial_dims=plan.spatial_dims,
                in_channels=plan.inputs,
                out_channels=classes,
            )
        twin.network.load_state_dict(network.state_dict())  # type: ignore[union-attr]
        original = AnySize(network, plan.spatial_dims).eval()
        with torch.no_grad():
            same = torch.equal(twin.eval()(image_BCIJK), original(image_BCIJK))
    except Exception:  # noqa: BLE001 - another's code; whatever it raises, there is no twin
        return given
    return (name, settings) if same else given


def _attributes(network: nn.Module, kind: type[Any]) -> dict[str, Any]:
    """Settings that a network keeps under their own names."""
    values = {name: getattr(network, name, None) for name in kind.__struct_fields__}
    return {name: value for name, value in values.items() if _is_data(value)}


def _is_data(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_data(entry) for entry in value)
    return isinstance(value, bool | int | float | str)
