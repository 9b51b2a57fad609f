"""Plain U-Net: strided convolutions down, transposed convolutions up, skips concatenated.

The layout follows Isensee et al., nnU-Net (Nature Methods 18, 2021): two convolutions a stage,
instance norm, leaky ReLU, a logits head at every decoder level for deep supervision.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from medseg.networks.layers import Axes, conv_block, initialise, per_axis, transposed_conv


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    features : tuple of int
        Channels of each stage, finest first.
    strides : tuple of tuple of int
        Step of each stage along each axis; the first stage normally has stride 1.
    kernels : tuple of tuple of int
        Kernel size of each stage along each axis (odd).
    convolutions : int
        Convolutions per stage, on both sides.
    deep_supervision : bool
        Whether coarser decoder levels give logits while training.
    """

    features: tuple[int, ...] = (32, 64, 128, 256)
    strides: tuple[tuple[int, ...], ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    kernels: tuple[tuple[int, ...], ...] = ((3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    convolutions: Literal[1, 2, 3] = 2
    deep_supervision: bool = True


def build(settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int) -> UNet:
    """Make the network; see :class:`UNet`."""
    return UNet(settings, spatial_dims, in_channels, out_channels)


class UNet(nn.Module):
    """Encoder and decoder of a plain U-Net.

    Parameters
    ----------
    settings : Settings
        Stages, strides, kernels.
    spatial_dims : int
        2 or 3.
    in_channels, out_channels : int
        Channels of the image; classes including background.

    Notes
    -----
    ``forward`` takes ``image_BCIJK`` and gives ``logits_BLIJK`` of the same spatial size, for any
    size of at least one voxel: what does not divide by the total stride is padded and cropped.
    While training with deep supervision it gives a list, finest first, each half the size of
    the one before along the axes its stage strides.
    """

    def __init__(
        self, settings: Settings, spatial_dims: int, in_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        self.total_stride: Axes = per_axis(settings.strides)
        self.deep_supervision = settings.deep_supervision
        features = settings.features
        stages = list(zip(features, settings.strides, settings.kernels, strict=True))
        self.encoder = nn.ModuleList()
        channels = in_channels
        for width, stride, kernel in stages:
            self.encoder.append(_stage(channels, width, kernel, stride, settings.convolutions))
            channels = width
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.heads = nn.ModuleList()
        conv = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
        for level in range(len(stages) - 2, -1, -1):
            width, _, kernel = stages[level]
            self.up.append(transposed_conv(features[level + 1], width, stages[level + 1][1]))
            unit = tuple(1 for _ in kernel)
            self.decoder.append(_stage(2 * width, width, kernel, unit, settings.convolutions))
            self.heads.append(conv(width, out_channels, 1))
        initialise(self)

    def forward(self, image_BCIJK: Tensor) -> Tensor | list[Tensor]:
        size = image_BCIJK.shape[2:]
        x = _pad_to_multiple(image_BCIJK, self.total_stride)
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        logits: list[Tensor] = []
        for up, stage, head in zip(self.up, self.decoder, self.heads, strict=True):
            x = stage(torch.cat((up(x), skips.pop()), dim=1))
            if self.training and self.deep_supervision:
                logits.append(head(x))
        if not (self.training and self.deep_supervision):
            logits.append(self.heads[-1](x))
        finest = _crop(logits[-1], size)
        if self.training and self.deep_supervision:
            return [finest, *reversed(logits[:-1])]
        return finest


def _stage(
    channels: int, width: int, kernel: Axes, stride: Axes, convolutions: int
) -> nn.Sequential:
    """`convolutions` blocks, the first of which strides and changes the width."""
    unit = tuple(1 for _ in stride)
    blocks = [conv_block(channels, width, kernel, stride)]
    blocks += [conv_block(width, width, kernel, unit) for _ in range(convolutions - 1)]
    return nn.Sequential(*blocks)


def _crop(x: Tensor, size: torch.Size) -> Tensor:
    """The near corner of `size` voxels: undoes `_pad_to_multiple`."""
    for axis, wanted in enumerate(size, start=2):
        x = x.narrow(axis, 0, wanted)
    return x


def _pad_to_multiple(x: Tensor, multiple: Axes) -> Tensor:
    """Zero-pad the far end of each spatial axis up to a multiple of the total stride."""
    pads: list[int] = []
    for size, factor in zip(reversed(x.shape[2:]), reversed(multiple), strict=True):
        pads += [0, math.ceil(size / factor) * factor - size]
    return nn.functional.pad(x, pads) if any(pads) else x
