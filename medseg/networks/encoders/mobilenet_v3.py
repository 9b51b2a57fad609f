"""MobileNetV3, the large one (Howard et al., Searching for MobileNetV3, ICCV 2019).

Each level ends before the next block that strides; the last one behind the 960-channel layer.
"""

from __future__ import annotations

from torch import nn

from medseg.networks.blocks.factory import ConvFactory, multiple_of_8
from medseg.networks.encoders._inverted import (
    FamilyStyle,
    InvertedEncoder,
    InvertedResidualConfig,
    inverted_encoder,
)
from medseg.networks.encoders.protocol import Layout

RE, HS = nn.ReLU, nn.Hardswish

# Table 1 of the paper.
CONFIGS = (
    InvertedResidualConfig(0, 3, 16, 16, 16, RE),
    InvertedResidualConfig(1, 3, 16, 64, 24, RE),
    InvertedResidualConfig(1, 3, 24, 72, 24, RE),
    InvertedResidualConfig(2, 5, 24, 72, 40, RE, squeeze=True),
    InvertedResidualConfig(2, 5, 40, 120, 40, RE, squeeze=True),
    InvertedResidualConfig(2, 5, 40, 120, 40, RE, squeeze=True),
    InvertedResidualConfig(3, 3, 40, 240, 80, HS),
    InvertedResidualConfig(3, 3, 80, 200, 80, HS),
    InvertedResidualConfig(3, 3, 80, 184, 80, HS),
    InvertedResidualConfig(3, 3, 80, 184, 80, HS),
    InvertedResidualConfig(3, 3, 80, 480, 112, HS, squeeze=True),
    InvertedResidualConfig(3, 3, 112, 672, 112, HS, squeeze=True),
    InvertedResidualConfig(4, 5, 112, 672, 160, HS, squeeze=True),
    InvertedResidualConfig(4, 5, 160, 960, 160, HS, squeeze=True),
    InvertedResidualConfig(4, 5, 160, 960, 160, HS, squeeze=True),
)


def build(layout: Layout, *, in_channels: int, width: float, norm: str) -> InvertedEncoder:
    """Make the encoder; see :class:`~medseg.networks.encoders._inverted.InvertedEncoder`."""
    factory = ConvFactory(layout.spatial_dims, width, norm, eps=1e-3, momentum=0.01)
    style = FamilyStyle("block", squeeze_channels=_squeezed, gate_activation=nn.Hardsigmoid)
    return inverted_encoder(
        factory, layout, CONFIGS, style=style, in_channels=in_channels, last=(960, HS)
    )


def _squeezed(_into: int, hidden: int) -> int:
    """A quarter of the hidden channels, to a multiple of 8."""
    return multiple_of_8(hidden // 4)
