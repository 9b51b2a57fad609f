"""Plain U-Net: strided convolutions down, transposed convolutions up, skips concatenated.

The layout follows Isensee et al., nnU-Net (Nature Methods 18, 2021): two convolutions a stage,
instance norm, leaky ReLU, a logits head at every decoder level for deep supervision. Settings
reach the U-Net of 2015 (Ronneberger et al., MICCAI: five stages of 64 to 1024 features, max
pooling, one head) and the Attention U-Net (Oktay et al., MIDL 2018).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from torch import nn

from medseg.networks.blocks.layers import Norm
from medseg.networks.blocks.skip_network import (
    Count,
    Decoding,
    SkipNetwork,
    Stage,
    conv_stage,
    for_each,
    plan_stages,
)
from medseg.planning.stages import Axes, Stages


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
    convolutions : int or tuple of int
        Convolutions of every stage, or of each; on both sides.
    decoder_convolutions : tuple of int
        Of each step up, the coarsest first; empty means as many as in the stage it arrives at.
    deep_supervision : bool
        Whether coarser decoder levels give logits while training.
    downsampling : {"convolution", "max_pool"}
        What steps into a stage.
    attention : bool
        Whether attention gates weigh the skips.
    norm : {"instance", "batch"}
    bias : bool
        Whether transposed convolutions have a bias, as nnU-Net's.
    """

    features: tuple[int, ...] = (32, 64, 128, 256)
    strides: tuple[Axes, ...] = ()
    kernels: tuple[Axes, ...] = ()
    convolutions: Count | tuple[Count, ...] = 2
    decoder_convolutions: tuple[Count, ...] = ()
    deep_supervision: bool = True
    downsampling: Literal["convolution", "max_pool"] = "convolution"
    attention: bool = False
    norm: Norm = "instance"
    bias: bool = False


def build(settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int) -> UNet:
    """Make the network; see :class:`UNet`."""
    return UNet(settings, spatial_dims, in_channels, out_channels)


def suggest(stages: Stages) -> Settings:
    """The planner's stages as they are."""
    return Settings(features=stages.features, strides=stages.strides, kernels=stages.kernels)


class UNet(SkipNetwork):
    """Encoder and decoder of a plain U-Net."""

    def __init__(
        self, settings: Settings, spatial_dims: int, in_channels: int, out_channels: int
    ) -> None:
        stages = plan_stages(settings.features, settings.strides, settings.kernels, spatial_dims)
        counts = for_each(settings.convolutions, len(stages), what="convolutions")
        up = settings.decoder_convolutions or counts[-2::-1]
        encoder = nn.ModuleList()
        channels = in_channels
        for stage, count in zip(stages, counts, strict=True):
            encoder.append(_encoder_stage(channels, stage, count, settings))
            channels = stage.skip
        decoding = Decoding(
            up,
            settings.deep_supervision,
            settings.attention,
            settings.norm,
            settings.bias,
        )
        super().__init__(encoder, stages, decoding, out_channels)


def _encoder_stage(channels: int, stage: Stage, count: int, settings: Settings) -> nn.Sequential:
    """Convolutions of which the first strides, or a pool before them."""
    norm = settings.norm
    if settings.downsampling == "convolution" or set(stage.stride) == {1}:
        return conv_stage(channels, stage.skip, stage.kernel, count, stage.stride, norm=norm)
    pool = nn.MaxPool3d if len(stage.stride) == 3 else nn.MaxPool2d
    return nn.Sequential(
        pool(stage.stride),
        conv_stage(channels, stage.skip, stage.kernel, count, norm=norm),
    )
