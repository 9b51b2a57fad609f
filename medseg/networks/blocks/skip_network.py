"""The half that all U-Nets have in common: up step by step, joining a skip at each."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.networks.blocks.attention_gate import AttentionGate
from medseg.networks.blocks.layers import (
    Axes,
    Norm,
    conv_block,
    crop,
    initialise,
    pad_to_multiple,
    per_axis,
    pointwise,
    transposed_conv,
)

Count = Annotated[int, msgspec.Meta(ge=1, le=8)]
"""Of convolutions in a stage."""


class Stage(NamedTuple):
    """One resolution of a U-Net.

    Parameters
    ----------
    skip : int
        Channels the encoder gives here.
    width : int
        Channels the decoder gives here; unused at the coarsest stage.
    stride : tuple of int
        Step into this stage along each axis.
    kernel : tuple of int
        Kernel of the decoder's convolutions along each axis (odd).
    """

    skip: int
    width: int
    stride: Axes
    kernel: Axes


class Decoding(NamedTuple):
    """What is chosen about a decoder.

    Parameters
    ----------
    convolutions : int or tuple of int
        Of every step up, or of each, the coarsest first.
    deep_supervision : bool
    attention : bool
    norm : {"instance", "batch"}
    bias : bool
        Whether transposed convolutions have one.
    """

    convolutions: int | tuple[int, ...]
    deep_supervision: bool
    attention: bool
    norm: Norm = "instance"
    bias: bool = False


class SkipNetwork(nn.Module):
    """An encoder and a decoder that joins its features again, finest last.

    Parameters
    ----------
    encoder : torch.nn.Module
        A `ModuleList` with one module a stage, unless `encode` is overridden.
    stages : list of Stage
    decoding : Decoding
    out_channels : int

    Notes
    -----
    ``forward`` takes ``image_BCIJK`` and gives ``logits_BLIJK`` of the same spatial size, for any
    size of at least one voxel: what does not divide by the total stride is padded and cropped.
    While training with deep supervision it gives a list, finest first, each half the size of
    the one before along the axes its stage strides.
    """

    def __init__(
        self, encoder: nn.Module, stages: list[Stage], decoding: Decoding, out_channels: int
    ) -> None:
        super().__init__()
        self.total_stride: Axes = per_axis(stage.stride for stage in stages)
        self.deep_supervision = decoding.deep_supervision
        self.encoder = encoder
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.gates = nn.ModuleList()
        self.heads = nn.ModuleList()
        dims = len(self.total_stride)
        channels = stages[-1].skip
        levels = range(len(stages) - 2, -1, -1)
        counts = for_each(decoding.convolutions, len(levels), what="the decoder's convolutions")
        for level, convolutions in zip(levels, counts, strict=True):
            skip, width, _, kernel = stages[level]
            step = stages[level + 1].stride
            self.up.append(transposed_conv(channels, width, step, bias=decoding.bias))
            self.decoder.append(
                conv_stage(width + skip, width, kernel, convolutions, norm=decoding.norm)
            )
            if decoding.attention:
                self.gates.append(AttentionGate(skip, channels, step))
            if decoding.deep_supervision or level == 0:
                self.heads.append(pointwise(width, out_channels, dims))
            channels = width
        if len(stages) == 1:
            self.heads.append(pointwise(channels, out_channels, dims))
        initialise(self)

    def forward(self, image_BCIJK: Tensor) -> Tensor | list[Tensor]:
        size = image_BCIJK.shape[2:]
        skips = self.encode(pad_to_multiple(image_BCIJK, self.total_stride))
        x = skips.pop()
        supervised = self.training and self.deep_supervision
        logits: list[Tensor] = []
        for number, (up, stage) in enumerate(zip(self.up, self.decoder, strict=True)):
            skip = skips.pop()
            if self.gates:
                skip = self.gates[number](skip, x)
            x = stage(torch.cat((up(x), skip), dim=1))
            if supervised and number < len(self.up) - 1:
                logits.append(self.heads[number](x))
        finest = crop(self.heads[-1](x), size)
        return [finest, *reversed(logits)] if supervised else finest

    def encode(self, image_BCIJK: Tensor) -> list[Tensor]:
        """One feature a stage, finest first, of an image that divides by the total stride."""
        features: list[Tensor] = []
        x = image_BCIJK
        for stage in self.encoder.children():
            x = stage(x)
            features.append(x)
        return features


def conv_stage(
    channels: int,
    width: int,
    kernel: Axes,
    convolutions: int,
    stride: Axes | None = None,
    *,
    norm: Norm = "instance",
) -> nn.Sequential:
    """`convolutions` blocks, the first of which changes the width (and strides, if asked)."""
    unit = tuple(1 for _ in kernel)
    blocks = [conv_block(channels, width, kernel, stride or unit, norm)]
    blocks += [conv_block(width, width, kernel, unit, norm) for _ in range(convolutions - 1)]
    return nn.Sequential(*blocks)


def for_each(count: int | tuple[int, ...], stages: int, *, what: str) -> tuple[int, ...]:
    """One number for every stage, or those that are given.

    Raises
    ------
    PlanError
        When there are more or fewer than stages, or one is below 1.
    """
    counts = (count,) * stages if isinstance(count, int) else count
    if len(counts) != stages or min(counts, default=1) < 1:
        raise PlanError(f"{what} needs {stages} numbers above 0, one for each, got {counts}")
    return counts


def plan_stages(
    features: tuple[int, ...], strides: tuple[Axes, ...], kernels: tuple[Axes, ...], dims: int
) -> list[Stage]:
    """Stages of a U-Net whose decoder is as wide as its encoder.

    Parameters
    ----------
    features : tuple of int
        Channels of each stage, finest first.
    strides, kernels : tuple of tuple of int
        Of each stage; empty means a stride of 2 (1 into the first stage), a kernel of 3.
    dims : int
        2 or 3.

    Raises
    ------
    PlanError
        When counts do not agree or a number is impossible.
    """
    count = len(features)
    strides = strides or ((1,) * dims, *((2,) * dims for _ in features[1:]))
    kernels = kernels or ((3,) * dims,) * count
    if not count or min(features) < 1:
        raise PlanError(f"a U-Net needs at least one stage of positive width, got {features}")
    if not len(strides) == len(kernels) == count:
        raise PlanError(
            f"{count} features, {len(strides)} strides and {len(kernels)} kernels; a U-Net needs"
            " one of each for every stage"
        )
    if any(len(axes) != dims or min(axes) < 1 for axes in (*strides, *kernels)):
        raise PlanError(
            f"strides {strides} and kernels {kernels} need {dims} positive numbers for each stage"
        )
    if any(number % 2 == 0 for kernel in kernels for number in kernel):
        raise PlanError(f"kernels must be odd along every axis, got {kernels}")
    rows = zip(features, strides, kernels, strict=True)
    return [Stage(width, width, stride, kernel) for width, stride, kernel in rows]
