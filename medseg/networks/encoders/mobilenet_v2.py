"""MobileNetV2 (Sandler et al., Inverted residuals and linear bottlenecks, CVPR 2018).

Each level ends before the next block that strides; the last one behind the 1280-channel layer.
"""

from __future__ import annotations

from torch import nn

from medseg.networks.blocks.factory import ConvFactory
from medseg.networks.encoders._inverted import (
    FamilyStyle,
    InvertedEncoder,
    InvertedResidualConfig,
    inverted_encoder,
)
from medseg.networks.encoders.protocol import Layout

# Table 2 of the paper: level, expansion, channels out, blocks.
ROWS = (
    (0, 1, 16, 1),
    (1, 6, 24, 2),
    (2, 6, 32, 3),
    (3, 6, 64, 4),
    (3, 6, 96, 3),
    (4, 6, 160, 3),
    (4, 6, 320, 1),
)


def build(layout: Layout, *, in_channels: int, width: float, norm: str) -> InvertedEncoder:
    """Make the encoder; see :class:`~medseg.networks.encoders._inverted.InvertedEncoder`."""
    factory = ConvFactory(layout.spatial_dims, width, norm)
    style = FamilyStyle("conv", flat=True)
    return inverted_encoder(
        factory, layout, _configs(), style=style, in_channels=in_channels, last=(1280, nn.ReLU6)
    )


def _configs() -> list[InvertedResidualConfig]:
    configs, into = [], 32
    for level, expansion, out, blocks in ROWS:
        for _ in range(blocks):
            configs.append(InvertedResidualConfig(level, 3, into, expansion * into, out, nn.ReLU6))
            into = out
    return configs
