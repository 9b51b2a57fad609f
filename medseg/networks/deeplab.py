"""DeepLab: a dilated encoder under a pyramid of dilated convolutions.

Version 3: Chen et al., Rethinking atrous convolution (arXiv 1706.05587, 2017). Version 3+: Chen et
al., Encoder-decoder with atrous separable convolution (ECCV 2018).
"""

from __future__ import annotations

from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.networks.blocks.atrous import atrous_block, pointwise_block
from medseg.networks.blocks.factory import ConvFactory
from medseg.networks.blocks.layers import Axes, crop, initialise, pad_to_nodes, pointwise, upsample
from medseg.networks.blocks.planned_encoder import map_size, planned_encoder
from medseg.networks.encoders import EncoderSettings, build_encoder, plan_layout
from medseg.networks.encoders.protocol import Encoder
from medseg.planning.stages import Stages

PUBLISHED_RATES = (6, 12, 18)
"""Of the three dilated branches at an output stride of 16."""

PUBLISHED_STRIDE = 16
PUBLISHED_MAP = 33
"""Voxels along an axis of the map those rates were chosen for: images of 513 pixels."""

LOW_LEVEL = 1
"""The level that gives version 3+ its borders; a quarter of the image's resolution as published."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    encoder : EncoderSettings
        Which encoder, how wide, where it strides and from which output stride on it dilates.
    version : {"v3", "v3plus"}
        Whether the pyramid's map is enlarged to the image at once, or joined with the second
        level on the way.
    features : int
        Channels of the pyramid and of what follows.
    low_level_features : int
        Channels the second level is reduced to (version 3+).
    rates : tuple of tuple of int
        Dilation of each dilated branch along each axis, in voxels of the encoder's last map;
        empty means the published 6, 12 and 18 times 16 over the reduction along the axis.
    separable : bool
        Whether 3-wide convolutions of the head are separable (version 3+ as published).
    convolutions : int or None
        3-wide convolutions before the logits; None: two in version 3+, none in version 3.
    """

    encoder: EncoderSettings = EncoderSettings(output_stride=16)
    version: Literal["v3", "v3plus"] = "v3plus"
    features: int = 256
    low_level_features: int = 48
    rates: tuple[Axes, ...] = ()
    separable: bool = True
    convolutions: int | None = None


def build(settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int) -> DeepLab:
    """Make the network; see :class:`DeepLab`.

    Raises
    ------
    PlanError
        When the encoder, a width or a rate is impossible.
    """
    if min(settings.features, settings.low_level_features) < 1:
        raise PlanError(
            f"features ({settings.features}) and low_level_features"
            f" ({settings.low_level_features}) must be positive"
        )
    for rate in settings.rates:
        if len(rate) != spatial_dims or min(rate) < 1:
            raise PlanError(f"a rate needs {spatial_dims} numbers from 1 up, got {rate}")
    encoder = build_encoder(settings.encoder, spatial_dims=spatial_dims, in_channels=in_channels)
    return DeepLab(encoder, settings, out_channels)


def suggest(stages: Stages) -> Settings:
    """Version 3+ over a ResNet-18 of the budget's width, with rates that fit the patch.

    The rates keep the share of the map that the published ones have of theirs (6, 12, 18 of 33
    voxels) and never pass them: taps that fall off a small map see nothing but padding, and the
    branch would be a 1-wide convolution (section 3.3 of the paper of version 3).
    """
    encoder = planned_encoder(stages, dilate=True)
    reduction = plan_layout(encoder, spatial_dims=stages.spatial_dims).reductions[-1]
    size = map_size(stages.patch, reduction)
    return Settings(
        encoder=encoder,
        features=3 * stages.features[0] // 2,
        low_level_features=max(stages.features[0] // 2, 1),
        rates=tuple(
            tuple(min(max(round(n * rate / PUBLISHED_MAP), 1), rate) for n in size)
            for rate in PUBLISHED_RATES
        ),
        separable=False,
    )


class DeepLab(nn.Module):
    """Encoder, pyramid and, in version 3+, a decoder.

    Notes
    -----
    ``forward`` takes ``image_BCIJK`` of any size and gives ``logits_BLIJK`` of the same size.
    """

    def __init__(self, encoder: Encoder, settings: Settings, out_channels: int) -> None:
        super().__init__()
        layout, width = encoder.layout, settings.features
        factory = ConvFactory(layout.spatial_dims, 1.0, settings.encoder.norm)
        plus = settings.version == "v3plus"
        rates = settings.rates or published_rates(layout.reductions[-1])
        self.encoder = encoder
        self.pyramid = ASPP(
            factory, encoder.channels[-1], width, rates, separable=settings.separable
        )
        self.low_level = (
            pointwise_block(factory, encoder.channels[LOW_LEVEL], settings.low_level_features)
            if plus
            else None
        )
        count = 2 * plus if settings.convolutions is None else settings.convolutions
        channels = width + settings.low_level_features * plus
        self.decoder = nn.Sequential()
        for _ in range(count):
            self.decoder.append(
                atrous_block(factory, channels, width, separable=settings.separable)
            )
            channels = width
        self.head = pointwise(channels, out_channels, layout.spatial_dims)
        initialise(self)

    def forward(self, image_BCIJK: Tensor) -> Tensor:
        image = pad_to_nodes(image_BCIJK, self.encoder.layout.reductions[-1])
        features = self.encoder(image)
        x = self.pyramid(features[-1])
        if self.low_level is not None:
            low = self.low_level(features[LOW_LEVEL])
            x = torch.cat((upsample(x, low.shape[2:]), low), dim=1)
        logits = self.head(self.decoder(x))
        return crop(upsample(logits, image.shape[2:]), image_BCIJK.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: one map seen at several reaches at once.

    Notes
    -----
    The branch that averages the whole map has a bias and no norm: over a single voxel a norm
    would leave nothing (instance) or fail (batch of one).
    """

    def __init__(
        self,
        factory: ConvFactory,
        channels: int,
        width: int,
        rates: tuple[Axes, ...],
        *,
        separable: bool,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList([pointwise_block(factory, channels, width)])
        for rate in rates:
            self.branches.append(
                atrous_block(factory, channels, width, dilation=rate, separable=separable)
            )
        self.whole = pointwise(channels, width, factory.spatial_dims)
        self.project = pointwise_block(factory, (len(self.branches) + 1) * width, width)

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        axes = tuple(range(2, x_BCIJK.ndim))
        pooled = torch.relu(self.whole(x_BCIJK.mean(axes, keepdim=True)))
        maps = [branch(x_BCIJK) for branch in self.branches]
        maps.append(pooled.expand(-1, -1, *x_BCIJK.shape[2:]))
        joined: Tensor = self.project(torch.cat(maps, dim=1))
        return joined


def published_rates(reduction: Axes) -> tuple[Axes, ...]:
    """The paper's rates for a map of this reduction along each axis."""
    return tuple(
        tuple(max(rate * PUBLISHED_STRIDE // step, 1) for step in reduction)
        for rate in PUBLISHED_RATES
    )
