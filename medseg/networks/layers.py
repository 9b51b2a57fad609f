"""The few layers every architecture is made of, for 2 and 3 axes alike."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn

from medseg.networks.instance_norm import InstanceNorm

Axes = tuple[int, ...]
"""One number for each spatial axis."""


def conv_block(channels: int, width: int, kernel: Axes, stride: Axes) -> nn.Sequential:
    """Convolution, instance norm, leaky ReLU (slope 0.01).

    Parameters
    ----------
    channels, width : int
        Channels in and out.
    kernel, stride : tuple of int
        One odd number, one step, for each spatial axis.

    Returns
    -------
    torch.nn.Sequential
    """
    conv = nn.Conv3d if len(kernel) == 3 else nn.Conv2d
    padding = tuple(n // 2 for n in kernel)
    return nn.Sequential(
        conv(channels, width, kernel, stride=stride, padding=padding, bias=False),  # type: ignore[arg-type]
        InstanceNorm(width),
        nn.LeakyReLU(0.01, inplace=True),
    )


def transposed_conv(channels: int, width: int, stride: Axes) -> nn.Module:
    """Transposed convolution with kernel = stride: the inverse of a strided stage's step."""
    conv = nn.ConvTranspose3d if len(stride) == 3 else nn.ConvTranspose2d
    return conv(channels, width, stride, stride=stride, bias=False)  # type: ignore[arg-type]


def per_axis(strides: Iterable[Axes]) -> Axes:
    """Product of the stages' strides along each axis."""
    return tuple(math.prod(steps) for steps in zip(*strides, strict=True))


def initialise(network: nn.Module) -> None:
    """He initialisation for leaky ReLU (He et al., ICCV 2015) of every convolution, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
