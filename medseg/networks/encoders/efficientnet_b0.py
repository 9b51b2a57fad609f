"""EfficientNet-B0 (Tan and Le, Rethinking model scaling, ICML 2019), without stochastic depth.

Each level ends before the next stage that strides; the last one behind the 1280-channel layer.
"""

from __future__ import annotations

from torch import nn

from medseg.networks.blocks.factory import ConvFactory
from medseg.networks.encoders._inverted import (
    FamilyStyle,
    InvertedEncoder,
    InvertedResidualConfig,
    blocks_of,
    channels_of,
    conv_norm,
    stem,
)
from medseg.networks.encoders.protocol import Layout

# Table 1 of the paper: level, expansion, kernel, channels out, blocks.
STAGES = (
    (0, 1, 3, 16, 1),
    (1, 6, 3, 24, 2),
    (2, 6, 5, 40, 2),
    (3, 6, 3, 80, 3),
    (3, 6, 5, 112, 3),
    (4, 6, 5, 192, 4),
    (4, 6, 3, 320, 1),
)
FIRST, LAST = 32, 1280


def build(layout: Layout, *, in_channels: int, width: float, norm: str) -> InvertedEncoder:
    """Make the encoder; see :class:`~medseg.networks.encoders._inverted.InvertedEncoder`."""
    factory = ConvFactory(layout.spatial_dims, width, norm)
    style = FamilyStyle("block", squeeze_channels=_squeezed, squeeze_activation=nn.SiLU)
    configs = _configs()
    blocks = iter(blocks_of(factory, layout, configs, style))
    first = stem(factory, layout, in_channels, FIRST, activation=nn.SiLU)
    parts: list[tuple[int, nn.Module]] = [(0, first)]
    for level, *_, count in STAGES:
        parts.append((level, nn.Sequential(*(next(blocks) for _ in range(count)))))
    last = conv_norm(
        factory, factory.channels(configs[-1].out_channels), factory.channels(LAST), 1, nn.SiLU
    )
    return InvertedEncoder(layout, [*parts, (4, last)], channels_of(factory, configs, LAST))


def _configs() -> list[InvertedResidualConfig]:
    configs, into = [], FIRST
    for level, expansion, kernel, out, count in STAGES:
        for _ in range(count):
            configs.append(
                InvertedResidualConfig(
                    level, kernel, into, expansion * into, out, nn.SiLU, squeeze=True
                )
            )
            into = out
    return configs


def _squeezed(into: int, _hidden: int) -> int:
    """A quarter of the channels that come."""
    return max(1, into // 4)
