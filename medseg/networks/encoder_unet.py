"""A U-Net decoder over any encoder of ``medseg.networks.encoders``."""

from __future__ import annotations

from typing import Literal

import msgspec
from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.networks.blocks.planned_encoder import planned_encoder
from medseg.networks.blocks.skip_network import Decoding, SkipNetwork, Stage, conv_stage
from medseg.networks.encoders import LEVELS, EncoderSettings, build_encoder
from medseg.networks.encoders.protocol import Encoder
from medseg.planning.stages import Axes, Stages


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    encoder : EncoderSettings
        Which encoder, how wide, where it strides.
    features : tuple of int
        Channels of the five resolutions of the decoder, finest (that of the image) first. Where
        the encoder's first level does not stride, the finest is its own and only four are used.
    convolutions : int
    deep_supervision : bool
        Whether coarser decoder levels give logits while training.
    attention : bool
        Whether attention gates weigh the skips.
    """

    encoder: EncoderSettings = EncoderSettings()
    features: tuple[int, ...] = (16, 32, 64, 128, 256)
    convolutions: Literal[1, 2, 3] = 2
    deep_supervision: bool = True
    attention: bool = False


def build(
    settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int
) -> EncoderUNet:
    """Make the network; see :class:`EncoderUNet`.

    Raises
    ------
    PlanError
        When the encoder is unknown or impossible, or there are not five positive widths.
    """
    if len(settings.features) != LEVELS or min(settings.features) < 1:
        raise PlanError(
            f"the decoder needs {LEVELS} positive numbers of features, got {settings.features}"
        )
    encoder = build_encoder(settings.encoder, spatial_dims=spatial_dims, in_channels=in_channels)
    return EncoderUNet(encoder, settings, in_channels, out_channels)


def suggest(stages: Stages) -> Settings:
    """A ResNet-18 of the budget's width under a decoder of the same width."""
    first = stages.features[0]
    widths = (first, first, *(min(first * 2**n, 4 * first) for n in range(1, LEVELS - 1)))
    return Settings(encoder=planned_encoder(stages, dilate=False), features=widths)


class EncoderUNet(SkipNetwork):
    """A U-Net whose way down is an encoder.

    Notes
    -----
    Where the encoder's first level strides, a stage of convolutions sees the image at full
    resolution and gives the finest skip.
    """

    def __init__(
        self, encoder: Encoder, settings: Settings, in_channels: int, out_channels: int
    ) -> None:
        steps, kernel = encoder.layout.steps, (3,) * encoder.layout.spatial_dims
        widths = settings.features
        levels = zip(encoder.channels, (*widths[1:], 0), steps, strict=True)
        stages = [Stage(skip, width, step, kernel) for skip, width, step in levels]
        unit: Axes = (1,) * encoder.layout.spatial_dims
        strided = steps[0] != unit
        if strided:
            stages.insert(0, Stage(widths[0], widths[0], unit, kernel))
        decoding = Decoding(settings.convolutions, settings.deep_supervision, settings.attention)
        full = conv_stage(in_channels, widths[0], kernel, 1) if strided else nn.Identity()
        super().__init__(
            nn.ModuleDict({"full": full, "levels": encoder}), stages, decoding, out_channels
        )
        self.strided = strided

    def encode(self, image_BCIJK: Tensor) -> list[Tensor]:
        """One feature a stage, finest first."""
        levels: list[Tensor] = self.encoder.get_submodule("levels")(image_BCIJK)
        if not self.strided:
            return levels
        return [self.encoder.get_submodule("full")(image_BCIJK), *levels]
