"""The few layers every architecture is made of, for 2 and 3 axes alike."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.networks.blocks.instance_norm import InstanceNorm

Axes = tuple[int, ...]
"""One number for each spatial axis."""


Norm = Literal["instance", "batch"]


def norm_layer(channels: int, spatial_dims: int, norm: Norm) -> nn.Module:
    """Instance norm, or batch norm."""
    if norm == "instance":
        return InstanceNorm(channels)
    return nn.BatchNorm3d(channels) if spatial_dims == 3 else nn.BatchNorm2d(channels)


def conv_block(
    channels: int, width: int, kernel: Axes, stride: Axes, norm: Norm = "instance"
) -> nn.Sequential:
    """Convolution, norm, leaky ReLU (slope 0.01); a bias only where batch norm follows."""
    conv = nn.Conv3d if len(kernel) == 3 else nn.Conv2d
    padding = tuple(n // 2 for n in kernel)
    return nn.Sequential(
        conv(channels, width, kernel, stride=stride, padding=padding, bias=norm == "batch"),  # type: ignore[arg-type]
        norm_layer(width, len(kernel), norm),
        nn.LeakyReLU(0.01, inplace=True),
    )


def pointwise(channels: int, width: int, spatial_dims: int) -> nn.Module:
    """Convolution one voxel wide, with bias: heads, scores, branches without a norm."""
    conv = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
    return conv(channels, width, 1)


def transposed_conv(channels: int, width: int, stride: Axes, *, bias: bool = False) -> nn.Module:
    """Transposed convolution with kernel = stride: the inverse of a strided stage's step."""
    conv = nn.ConvTranspose3d if len(stride) == 3 else nn.ConvTranspose2d
    return conv(channels, width, stride, stride=stride, bias=bias)  # type: ignore[arg-type]


def per_axis(strides: Iterable[Axes]) -> Axes:
    """Product of the stages' strides along each axis."""
    return tuple(math.prod(steps) for steps in zip(*strides, strict=True))


def crop(x_BCIJK: Tensor, size: Iterable[int]) -> Tensor:
    """The near corner of `size` voxels: undoes `pad_to_multiple`."""
    for axis, count in enumerate(size, start=2):
        x_BCIJK = x_BCIJK.narrow(axis, 0, count)
    return x_BCIJK


def pad_to_multiple(x_BCIJK: Tensor, multiple: Axes) -> Tensor:
    """Zero-pad the far end of each spatial axis up to a multiple of the total stride."""
    pads: list[int] = []
    for size, factor in zip(reversed(x_BCIJK.shape[2:]), reversed(multiple), strict=True):
        pads += [0, math.ceil(size / factor) * factor - size]
    return nn.functional.pad(x_BCIJK, pads) if any(pads) else x_BCIJK


def pad_to_nodes(x_BCIJK: Tensor, stride: Axes) -> Tensor:
    """Zero-pad the far end of each spatial axis up to ``n * stride + 1`` voxels.

    Returns
    -------
    torch.Tensor
        Its first and last voxel are nodes of every level: odd kernels that stride centre voxel i
        of their output on voxel ``i * stride`` of their input. DeepLab chose its images so (513 =
        32 * 16 + 1; Chen et al., TPAMI 2018); :func:`upsample` is then exact, where interpolation
        between the borders of cells would shift maps by up to half a coarse voxel.
    """
    pads: list[int] = []
    for size, step in zip(reversed(x_BCIJK.shape[2:]), reversed(stride), strict=True):
        pads += [0, math.ceil((size - 1) / step) * step + 1 - size]
    return nn.functional.pad(x_BCIJK, pads) if any(pads) else x_BCIJK


def upsample(x_BCIJK: Tensor, size: torch.Size) -> Tensor:
    """Linear interpolation to `size` voxels; the first and last voxels stay first and last."""
    if x_BCIJK.shape[2:] == size:
        return x_BCIJK
    mode = "trilinear" if len(size) == 3 else "bilinear"
    return nn.functional.interpolate(x_BCIJK, size, mode=mode, align_corners=True)


def adopt_instance_norm(network: nn.Module) -> None:
    """Put `InstanceNorm` in the place of every one of torch's, in place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d | nn.InstanceNorm3d):
                setattr(module, name, InstanceNorm(child.num_features, eps=child.eps))


def initialise(network: nn.Module) -> None:
    """He initialisation for leaky ReLU (He et al., ICCV 2015) of every convolution, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
