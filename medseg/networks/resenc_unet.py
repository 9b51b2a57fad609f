"""U-Net with a residual encoder and a light decoder.

Isensee et al., nnU-Net Revisited (MICCAI 2024): a stem, then residual blocks of two convolutions
whose shortcuts average before they change width (ResNet-D: He et al., Bag of tricks, CVPR 2019);
one convolution a stage on the way up.
"""

from __future__ import annotations

import msgspec
from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.networks.blocks.layers import Norm, conv_block, norm_layer
from medseg.networks.blocks.skip_network import (
    Count,
    Decoding,
    SkipNetwork,
    Stage,
    plan_stages,
)
from medseg.planning.stages import Axes, Stages

PUBLISHED_BLOCKS = (1, 3, 4, 6, 6, 6)
LIGHT_BLOCKS = (1, 1, 1, 2, 2, 2)
WIDE = 320


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    features : tuple of int
        Channels of each stage, finest first.
    strides : tuple of tuple of int
        Step into each stage along each axis; empty means 1 into the first, 2 into all others.
    kernels : tuple of tuple of int
        Kernel size of each stage along each axis (odd); empty means 3.
    blocks : tuple of int
        Residual blocks of each stage; empty means 1, 3, 4 and then 6, as published.
    convolutions : int or tuple of int
        Convolutions of every step up, or of each, the coarsest first.
    deep_supervision : bool
        Whether coarser decoder levels give logits while training.
    norm : {"instance", "batch"}
    bias : bool
        Whether transposed convolutions have a bias, as nnU-Net's.
    """

    features: tuple[int, ...] = (32, 64, 128, 256)
    strides: tuple[Axes, ...] = ()
    kernels: tuple[Axes, ...] = ()
    blocks: tuple[int, ...] = ()
    convolutions: Count | tuple[Count, ...] = 1
    deep_supervision: bool = True
    norm: Norm = "instance"
    bias: bool = False


def build(
    settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int
) -> SkipNetwork:
    """Make the network.

    Raises
    ------
    PlanError
        When the numbers of stages do not agree.
    """
    stages = plan_stages(settings.features, settings.strides, settings.kernels, spatial_dims)
    blocks = settings.blocks or _first(PUBLISHED_BLOCKS, len(stages))
    if len(blocks) != len(stages) or min(blocks) < 1:
        raise PlanError(f"{len(stages)} stages need as many block counts above 0, got {blocks}")
    encoder = nn.ModuleList()
    channels = in_channels
    for stage, count in zip(stages, blocks, strict=True):
        encoder.append(_stage(channels, stage, count, settings.norm, stem=not encoder))
        channels = stage.skip
    decoding = Decoding(
        settings.convolutions,
        settings.deep_supervision,
        attention=False,
        norm=settings.norm,
        bias=settings.bias,
    )
    return SkipNetwork(encoder, stages, decoding, out_channels)


def suggest(stages: Stages) -> Settings:
    """The planner's stages; the published depth where the budget allows the published width."""
    depth = PUBLISHED_BLOCKS if max(stages.features) >= WIDE else LIGHT_BLOCKS
    return Settings(
        features=stages.features,
        strides=stages.strides,
        kernels=stages.kernels,
        blocks=_first(depth, len(stages.features)),
    )


def _first(blocks: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The first `count` numbers; the last is repeated where there are too few."""
    return (*blocks, *(blocks[-1] for _ in range(count)))[:count]


def _stage(channels: int, stage: Stage, count: int, norm: Norm, *, stem: bool) -> nn.Sequential:
    """Residual blocks, the first of which strides; the finest stage has a stem before them."""
    width, unit = stage.skip, tuple(1 for _ in stage.stride)
    layers: list[nn.Module] = []
    if stem:
        layers.append(conv_block(channels, width, stage.kernel, unit, norm))
        channels = width
    layers.append(ResidualBlock(channels, width, stage.kernel, stage.stride, norm))
    layers += [ResidualBlock(width, width, stage.kernel, unit, norm) for _ in range(count - 1)]
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut that averages where the block strides.

    Parameters
    ----------
    channels, width : int
    kernel, stride : tuple of int
        Of the first convolution along each axis; the second one does not stride.
    norm : {"instance", "batch"}
    """

    def __init__(
        self, channels: int, width: int, kernel: Axes, stride: Axes, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        conv, pool = (nn.Conv3d, nn.AvgPool3d) if len(kernel) == 3 else (nn.Conv2d, nn.AvgPool2d)
        padding = tuple(n // 2 for n in kernel)
        dims = len(kernel)
        self.first = conv_block(channels, width, kernel, stride, norm)
        self.second = nn.Sequential(
            conv(width, width, kernel, padding=padding, bias=norm == "batch"),  # type: ignore[arg-type]
            norm_layer(width, dims, norm),
        )
        shortcut: list[nn.Module] = []
        if set(stride) != {1}:
            shortcut.append(pool(stride, stride))  # type: ignore[arg-type]
        if channels != width:
            shortcut += [conv(channels, width, 1, bias=False), norm_layer(width, dims, norm)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        y = self.second(self.first(x_BCIJK)) + self.shortcut(x_BCIJK)
        return nn.functional.leaky_relu(y, 0.01, inplace=True)
