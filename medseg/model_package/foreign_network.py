"""Networks of other programs: MONAI's classes by a fixed list, and files that hold a network."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from medseg.errors import PackageError, reason
from medseg.model_package.chain import NETWORKS
from medseg.planning.plan import Component

if TYPE_CHECKING:
    from torch import nn

    from medseg.model_package.manifest import Manifest

FILE = "given:file"
TWO_LOOKS = "given:TwoLooks"
"""Networks that are made by no name of a part: one that a file holds, and deepbet's."""


def build_foreign(manifest: Manifest, data: bytes) -> nn.Module:
    """The network of another program's model, with weights only where a file holds both.

    Parameters
    ----------
    manifest : Manifest
        Of a file of weights that ends in ``.onnx`` or ``.ts``, or with a chain.
    data : bytes
        Of the file of weights.

    Raises
    ------
    PackageError
        When it is none that medseg takes, does not take its settings, cannot be read or has other
        channels.
    """
    if manifest.weights.file.endswith(".onnx"):
        return _onnx(manifest, data)
    if manifest.weights.file.endswith(".ts"):
        return _script(data)
    if manifest.plan.network.name == TWO_LOOKS:
        from medseg.networks.blocks.linknet import TwoLooks

        return TwoLooks()
    return _monai(manifest.plan.network, manifest)


def _monai(component: Component, manifest: Manifest) -> nn.Module:
    name = component.name.removeprefix("monai:")
    if name not in NETWORKS:
        raise PackageError(
            f"the network '{component.name}' is none that medseg takes from other programs; it"
            f" takes: {', '.join(NETWORKS)}",
            code="UNKNOWN_STEP",
        )
    import monai.networks.nets

    outputs = component.settings.get("out_channels")
    if outputs != _outputs(manifest):
        raise PackageError(
            f"the network gives {outputs} channels and {_outputs(manifest)} are named",
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


def _outputs(manifest: Manifest) -> int:
    if manifest.chain is not None:
        return len(manifest.chain.outputs)
    return manifest.plan.outputs(manifest.labels)


def _onnx(manifest: Manifest, data: bytes) -> nn.Module:
    """The network of an ONNX file; for a plan of slices, one for pictures works on each slice."""
    from medseg.networks.adapters.onnx_network import OnnxNetwork
    from medseg.networks.blocks.slice_wise import SliceWise

    plan, network = manifest.plan, OnnxNetwork(data)
    if manifest.chain is not None:
        return network
    flat = plan.slice_axis is not None and network.axes == 4
    if network.axes != (4 if flat else 5):
        raise PackageError(
            f"the ONNX file takes images of {network.axes} axes; it needs 5 (batch, channels and"
            " three of space), or 4 with a 'plane' in the plan",
            code="CHANNELS",
        )
    spatial = tuple(n for axis, n in enumerate(plan.patch) if not flat or axis != plan.slice_axis)
    network.check(channels=len(plan.channels), outputs=_outputs(manifest), spatial=spatial)
    return SliceWise(network, plan.slice_axis) if flat and plan.slice_axis is not None else network


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
