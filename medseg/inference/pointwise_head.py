"""A network's last layer put off until tiles are blended: memory does not grow with classes.

Most segmentation networks end in a convolution of one voxel: logits are a weighted sum of a few
features, voxel by voxel. Blending and linear interpolation are weighted sums too, so the order may
change: 32 blended features stand for the logits of 105 classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from medseg.inference.tiling import Triple

CLASSES_AT_ONCE = 16
"""Classes whose logits are made together."""
_AGREE = 1e-4  # of the largest logit: rounding in float32, far below what another order would do


@dataclass(frozen=True, eq=False)
class PointwiseHead:
    """Logits as weighted sums of features.

    Parameters
    ----------
    weight_LF : torch.Tensor
        float32.
    bias_L : torch.Tensor
        float32.
    """

    weight_LF: Tensor  # noqa: N815 - axes in the name, as everywhere
    bias_L: Tensor  # noqa: N815

    def logits(self, features_FIJK: Tensor) -> Iterator[Tensor]:
        """Logits of one class after another, each of shape (I, J, K), a few computed together."""
        for first in range(0, len(self.bias_L), CLASSES_AT_ONCE):
            yield from self.all_logits(features_FIJK, slice(first, first + CLASSES_AT_ONCE))

    def all_logits(self, features_FIJK: Tensor, classes: slice = slice(None)) -> Tensor:
        """Logits of some classes, or all; shape (L, I, J, K)."""
        flat = features_FIJK.flatten(1)
        bias_L, weight_LF = (
            each[classes].to(flat.device) for each in (self.bias_L, self.weight_LF)
        )
        logits: Tensor = torch.addmm(bias_L[:, None], weight_LF, flat)
        return logits.reshape(-1, *features_FIJK.shape[1:])


@dataclass(frozen=True, eq=False)
class Split:
    """A network in two: what gives features, and what makes logits of them."""

    trunk: Callable[[Tensor], Tensor]
    head: PointwiseHead


@torch.inference_mode()
def split(network: Callable[[Tensor], Tensor], channels: int, patch: Triple) -> Split | None:
    """A network without its last layer, and that layer, where they give the same apart.

    Parameters
    ----------
    network : callable
        In evaluation mode. Only a torch.nn.Module can be split.
    channels : int
        Of the image.
    patch : tuple of int
        Voxels that the network was made for. It is tried on smaller noise, and on so many where it
        does not take less.

    Returns
    -------
    Split or None
        None when there is no such layer, it has no fewer features than classes, or something
        follows that does not commute with it. The trunk shares the network's weights.
    """
    layers = network.named_modules() if isinstance(network, nn.Module) else ()
    widening = {name: layer for name, layer in layers if _widens(layer)}
    if not isinstance(network, nn.Module) or not widening:
        return None
    last = ""

    def note(name: str) -> None:
        nonlocal last
        last = name

    hooks = [
        layer.register_forward_hook(lambda *_, name=name: note(name))
        for name, layer in widening.items()
    ]
    noise, expected = _tried(network, channels, patch)
    for hook in hooks:
        hook.remove()
    if not last:
        return None
    layer, trunk = widening[last], _without(network, last)
    try:
        features = trunk(noise)[0].float()
    except (RuntimeError, ValueError):  # what follows takes the layer's channels
        return None
    if features.shape != (layer.in_channels, *expected.shape[1:]):
        return None
    bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach().float()
    head = PointwiseHead(layer.weight.detach().float().flatten(1), bias)
    apart = head.all_logits(features) - expected
    return Split(trunk, head) if apart.abs().max() <= _AGREE * expected.abs().max() else None


def _widens(layer: nn.Module) -> bool:
    """Whether it is a convolution of one voxel that gives more channels than it takes."""
    if not isinstance(layer, nn.Conv2d | nn.Conv3d) or layer.groups > 1:
        return False
    pointwise = all(n == 1 for n in (*layer.kernel_size, *layer.stride))
    return pointwise and not any(layer.padding) and layer.in_channels < layer.out_channels


def _tried(network: nn.Module, channels: int, patch: Triple) -> tuple[Tensor, Tensor]:
    """Noise of the smallest size that a network takes, and its logits (L, I, J, K)."""
    weight = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    for share in (4, 2, 1):
        size = tuple(max(n // share, 1) for n in patch)
        noise = torch.randn(1, channels, *size, generator=generator).to(weight)
        try:
            return noise, network(noise)[0].float()
        except (RuntimeError, ValueError):  # of strides that do not divide it, or a fixed size
            if share == 1:
                raise
    raise AssertionError


def _without(network: nn.Module, name: str) -> nn.Module:
    """A network of the same weights without one layer."""
    shared = {id(each): each for each in chain(network.parameters(), network.buffers())}
    trunk = copy.deepcopy(network, shared)
    parent, _, child = name.rpartition(".")
    setattr(trunk.get_submodule(parent), child, nn.Identity())
    return trunk
