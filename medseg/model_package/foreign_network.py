"""Networks of other programs: MONAI's classes by a fixed list, and files that hold a network."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from medseg.errors import PackageError, reason
from medseg.model_package.chain import NETWORKS, Chain
from medseg.planning.plan import Component

if TYPE_CHECKING:
    from torch import nn

TORCHSCRIPT = "given:TorchScript"
TWO_LOOKS = "given:TwoLooks"
"""Networks that are made by no name of a part."""


def build_foreign(component: Component, chain: Chain, data: bytes) -> nn.Module:
    """The network of a chain, with weights only where they are part of its file.

    Parameters
    ----------
    component : Component
        ``"monai:"`` and one of `NETWORKS`, or a constant of this module.
    chain : Chain
    data : bytes
        Of the weights file.

    Raises
    ------
    PackageError
        When it is another network, does not take its settings or cannot be read.
    """
    if component.name == TORCHSCRIPT:
        return _script(data)
    if component.name == TWO_LOOKS:
        from medseg.networks.blocks.linknet import TwoLooks

        return TwoLooks()
    name = component.name.removeprefix("monai:")
    if name not in NETWORKS:
        raise PackageError(
            f"the network '{component.name}' is none that medseg takes from other programs; it"
            f" takes: {', '.join(NETWORKS)}",
            code="UNKNOWN_STEP",
        )
    import monai.networks.nets

    outputs = component.settings.get("out_channels")
    if outputs != len(chain.outputs):
        raise PackageError(
            f"the network gives {outputs} channels and {len(chain.outputs)} are named",
            code="CHANNELS",
        )
    extra = {"pretrained": False} if name == "FlexibleUNet" else {}
    try:
        network: nn.Module = getattr(monai.networks.nets, name)(**component.settings, **extra)
    except Exception as error:  # MONAI's code; it may raise anything
        raise PackageError(
            f"{name} of MONAI refuses its settings: {reason(error)}", code="UNKNOWN_STEP"
        ) from error
    return network


def _script(data: bytes) -> nn.Module:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            script: nn.Module = torch.jit.load(io.BytesIO(data), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise PackageError(
            f"the TorchScript cannot be read: {reason(error)}; copy the model again", code="DAMAGED"
        ) from error
    return script
