"""Fully convolutional networks: FCN-32s, FCN-16s and FCN-8s over any encoder.

Long, Shelhamer and Darrell (CVPR 2015); Shelhamer, Long and Darrell (TPAMI 2017): every level is
scored by itself, and coarse scores are enlarged and added to finer ones.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.networks.blocks.layers import (
    Axes,
    crop,
    initialise,
    pad_to_nodes,
    pointwise,
    upsample,
)
from medseg.networks.blocks.planned_encoder import planned_encoder
from medseg.networks.encoders import EncoderSettings, build_encoder
from medseg.networks.encoders.protocol import Encoder
from medseg.planning.stages import Stages

SKIPS = {32: (), 16: (3,), 8: (3, 2)}
"""Levels (from 0) whose scores are added to those of the last, for each variant."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    encoder : EncoderSettings
        Which encoder, how wide, where it strides.
    variant : {8, 16, 32}
        32: only the fifth level is scored; 16: the fourth is added; 8: the third as well. The
        names are the strides of the finest scored level where every level strides.
    head_width : int
        Channels of the two convolutions before the coarsest score (fc6 and fc7 of VGG: 4,096);
        0 leaves them out.
    head_kernel : int
        Kernel of the first of them along each axis (odd; published: 7).
    dropout : float
        After each of them (published: 0.5).
    upsampling : {"linear", "learned"}
        How scores grow between levels: linear interpolation, or a transposed convolution that
        starts as one. The last step to the image is linear, as published.
    """

    encoder: EncoderSettings = EncoderSettings()
    variant: Literal[8, 16, 32] = 8
    head_width: int = 0
    head_kernel: int = 7
    dropout: float = 0.5
    upsampling: Literal["linear", "learned"] = "learned"


def build(settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int) -> FCN:
    """Make the network; see :class:`FCN`.

    Raises
    ------
    PlanError
        When the encoder or the head is impossible.
    """
    if settings.head_width < 0 or settings.head_kernel < 1 or settings.head_kernel % 2 == 0:
        raise PlanError(
            f"a head of {settings.head_width} channels and kernel {settings.head_kernel}; the"
            " width must be 0 or more, the kernel odd"
        )
    if not 0 <= settings.dropout < 1:
        raise PlanError(f"dropout must lie in 0..1 (1 excluded), got {settings.dropout:g}")
    encoder = build_encoder(settings.encoder, spatial_dims=spatial_dims, in_channels=in_channels)
    return FCN(encoder, settings, out_channels)


def suggest(stages: Stages) -> Settings:
    """FCN-8s over a ResNet-18 of the budget's width."""
    return Settings(encoder=planned_encoder(stages, dilate=False))


class FCN(nn.Module):
    """Scores of up to three levels, added from coarse to fine.

    Notes
    -----
    ``forward`` takes ``image_BCIJK`` of any size and gives ``logits_BLIJK`` of the same size. The
    scores of skips start at zero, as published, so that training begins with the coarse ones.
    """

    def __init__(self, encoder: Encoder, settings: Settings, out_channels: int) -> None:
        super().__init__()
        reductions, dims = encoder.layout.reductions, encoder.layout.spatial_dims
        self.encoder = encoder
        self.skips = SKIPS[settings.variant]
        channels = encoder.channels[-1]
        self.head = _head(channels, settings, dims)
        self.score = pointwise(settings.head_width or channels, out_channels, dims)
        self.skip_scores = nn.ModuleList()
        self.grow = nn.ModuleList()
        coarse = reductions[-1]
        for level in self.skips:
            self.skip_scores.append(pointwise(encoder.channels[level], out_channels, dims))
            factor = tuple(a // b for a, b in zip(coarse, reductions[level], strict=True))
            learned = settings.upsampling == "learned" and set(factor) != {1}
            self.grow.append(LearnedUpsample(out_channels, factor) if learned else Upsample())
            coarse = reductions[level]
        initialise(self)
        self._start_as_published()

    def forward(self, image_BCIJK: Tensor) -> Tensor:
        image = pad_to_nodes(image_BCIJK, self.encoder.layout.reductions[-1])
        features = self.encoder(image)
        x: Tensor = self.score(self.head(features[-1]))
        for level, score, grow in zip(self.skips, self.skip_scores, self.grow, strict=True):
            x = grow(x, features[level].shape[2:]) + score(features[level])
        return crop(upsample(x, image.shape[2:]), image_BCIJK.shape[2:])

    def _start_as_published(self) -> None:
        """Zero scores of skips; transposed convolutions that interpolate linearly."""
        for score in self.skip_scores:
            for parameter in score.parameters():
                nn.init.zeros_(parameter)
        for grow in self.grow:
            if isinstance(grow, LearnedUpsample):
                grow.interpolate_linearly()


class Upsample(nn.Module):
    """:func:`medseg.networks.blocks.layers.upsample` as a layer."""

    def forward(self, x_BLIJK: Tensor, size: torch.Size) -> Tensor:
        return upsample(x_BLIJK, size)


class LearnedUpsample(nn.Module):
    """A transposed convolution in the place of linear interpolation.

    Parameters
    ----------
    classes : int
    factor : tuple of int
        Along each axis; the kernel has ``2 * factor - 1`` voxels.

    Notes
    -----
    ``forward`` takes n voxels to ``(n - 1) * factor + 1`` along each axis.
    """

    def __init__(self, classes: int, factor: Axes) -> None:
        super().__init__()
        self.factor = factor
        conv = nn.ConvTranspose3d if len(factor) == 3 else nn.ConvTranspose2d
        kernel = tuple(2 * n - 1 for n in factor)
        padding = tuple(n - 1 for n in factor)
        self.conv = conv(classes, classes, kernel, factor, padding, bias=False)  # type: ignore[arg-type]

    def forward(self, x_BLIJK: Tensor, size: torch.Size) -> Tensor:
        return crop(self.conv(x_BLIJK), size)

    @torch.no_grad()
    def interpolate_linearly(self) -> None:
        """Set the weights to those of linear interpolation, class by class."""
        kernel = torch.ones(())
        for n in self.factor:
            tent = 1 - torch.arange(1 - n, n).abs() / n
            kernel = kernel[..., None] * tent
        weight = self.conv.weight.zero_()
        for label in range(len(weight)):
            weight[label, label] = kernel


def _head(channels: int, settings: Settings, dims: int) -> nn.Sequential:
    """fc6 and fc7 as convolutions, or nothing."""
    width, kernel = settings.head_width, settings.head_kernel
    if width == 0:
        return nn.Sequential()
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    return nn.Sequential(
        conv(channels, width, kernel, padding=kernel // 2),
        nn.ReLU(inplace=True),
        nn.Dropout(settings.dropout),
        conv(width, width, 1),
        nn.ReLU(inplace=True),
        nn.Dropout(settings.dropout),
    )
