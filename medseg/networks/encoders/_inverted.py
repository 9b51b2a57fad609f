"""Inverted residuals: widen, convolve each channel on its own, narrow (Sandler et al. 2018).

MobileNetV2, MobileNetV3 and EfficientNet are chains of them. The squeeze-and-excitation within is
that of Hu et al. (CVPR 2018); it has no norm, so that a mean over one voxel is as good as any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from medseg.networks.blocks.factory import ConvFactory, Stride, levels_of
from medseg.networks.encoders.protocol import Encoder, Layout


class InvertedResidualConfig(NamedTuple):
    """One inverted residual: a row of the tables in the papers, before the encoder's width.

    Parameters
    ----------
    level : int
        Level it belongs to; the first block of a level steps into it, except for level 0.
    kernel : int
    in_channels, expanded, out_channels : int
        Channels of its input, between its convolutions, and of its output.
    activation : type
        Behind its first two convolutions.
    squeeze : bool
        Whether it has a squeeze-and-excitation.
    """

    level: int
    kernel: int
    in_channels: int
    expanded: int
    out_channels: int
    activation: type[nn.Module]
    squeeze: bool = False


class FamilyStyle(NamedTuple):
    """In what the three families differ.

    Parameters
    ----------
    name : str
        Attribute under which torchvision keeps a block's layers.
    flat : bool
        Whether the last convolution and its norm stand among the layers, or in a part of their own.
    squeeze_channels : callable
        Channels within a squeeze, from those of the block's input and of its expanded maps.
    squeeze_activation, gate_activation : type
        Activations behind the two convolutions of a squeeze.
    """

    name: str
    flat: bool = False
    squeeze_channels: Callable[[int, int], int] = max
    squeeze_activation: type[nn.Module] = nn.ReLU
    gate_activation: type[nn.Module] = nn.Sigmoid


class InvertedEncoder(Encoder):
    """A chain of modules, each of one level."""

    def __init__(
        self, layout: Layout, parts: list[tuple[int, nn.Module]], channels: tuple[int, ...]
    ) -> None:
        super().__init__(channels, layout)
        self.levels = tuple(level for level, _ in parts)
        self.features = nn.Sequential(*(module for _, module in parts))

    def forward(self, image_BCIJK: Tensor) -> list[Tensor]:
        x, features = image_BCIJK, [image_BCIJK] * len(self.channels)
        for level, module in zip(self.levels, self.features, strict=True):
            x = features[level] = module(x)
        return features


class Inverted(nn.Module):
    """The layers of a block, with a shortcut where the shape is kept."""

    def __init__(self, name: str, layers: list[nn.Module], *, shortcut: bool) -> None:
        super().__init__()
        self.name = name
        self.shortcut = shortcut
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self.name)(x_BCIJK)
        return x_BCIJK + y if self.shortcut else y


class Squeeze(nn.Module):
    """Weigh the channels by their means (Hu et al. 2018)."""

    def __init__(
        self, factory: ConvFactory, channels: int, squeezed: int, style: FamilyStyle
    ) -> None:
        super().__init__()
        self.fc1 = factory.conv(channels, squeezed, 1, bias=True)
        self.fc2 = factory.conv(squeezed, channels, 1, bias=True)
        self.activation = style.squeeze_activation()
        self.scale_activation = style.gate_activation()

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        mean = x_BCIJK.mean(tuple(range(2, x_BCIJK.ndim)), keepdim=True)
        scale: Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(mean))))
        return scale * x_BCIJK


def inverted_encoder(
    factory: ConvFactory,
    layout: Layout,
    configs: Sequence[InvertedResidualConfig],
    *,
    style: FamilyStyle,
    in_channels: int,
    last: tuple[int, type[nn.Module]],
) -> InvertedEncoder:
    """Stem, one module for each block, and a 1-wide convolution.

    Parameters
    ----------
    factory : ConvFactory
    layout : Layout
    configs : sequence of InvertedResidualConfig
        In order.
    style : FamilyStyle
    in_channels : int
    last : tuple of (int, type)
        Channels of the last convolution, and the activation behind the first and the last.
    """
    first = stem(factory, layout, in_channels, configs[0].in_channels, activation=last[1])
    blocks = blocks_of(factory, layout, configs, style)
    head = conv_norm(
        factory, factory.channels(configs[-1].out_channels), factory.channels(last[0]), 1, last[1]
    )
    middle = [(config.level, block) for config, block in zip(configs, blocks, strict=True)]
    parts = [(0, first), *middle, (4, head)]
    return InvertedEncoder(layout, parts, channels_of(factory, configs, last[0]))


def stem(
    factory: ConvFactory,
    layout: Layout,
    in_channels: int,
    width: int,
    *,
    activation: type[nn.Module],
) -> nn.Sequential:
    """The 3-wide convolution that steps into level 0; `width` before the encoder's width."""
    entry = levels_of(layout)[0].entry
    return conv_norm(factory, in_channels, factory.channels(width), 3, activation, entry)


def blocks_of(
    factory: ConvFactory,
    layout: Layout,
    configs: Sequence[InvertedResidualConfig],
    style: FamilyStyle,
) -> list[nn.Module]:
    """One module for each block; the first of each level but 0 strides."""
    levels = levels_of(layout)
    before = [0, *(config.level for config in configs)]
    blocks: list[nn.Module] = []
    for config, earlier in zip(configs, before, strict=False):
        level = levels[config.level]
        stride = level.inner if config.level == earlier else level.entry
        layers = _layers(factory, config, stride, style)
        blocks.append(
            Inverted(style.name, layers, shortcut=config.in_channels == config.out_channels)
        )
    return blocks


def channels_of(
    factory: ConvFactory, configs: Sequence[InvertedResidualConfig], last: int
) -> tuple[int, ...]:
    """Channels of the five features: of the last block of each level, then of the last layer."""
    widths = {config.level: factory.channels(config.out_channels) for config in configs}
    widths[4] = factory.channels(last)
    return tuple(widths.values())


def conv_norm(
    factory: ConvFactory,
    channels: int,
    width: int,
    kernel: int,
    activation: type[nn.Module] | None = None,
    stride: Stride | None = None,
) -> nn.Sequential:
    """Convolution, norm and, if any, activation."""
    layers = [factory.conv(channels, width, kernel, stride), factory.normalise(width)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def _layers(
    factory: ConvFactory, config: InvertedResidualConfig, stride: Stride, style: FamilyStyle
) -> list[nn.Module]:
    """Widen (where the paper does), convolve each channel, squeeze (if asked), narrow."""
    into = factory.channels(config.in_channels)
    hidden = factory.channels(config.expanded)
    out = factory.channels(config.out_channels)
    layers: list[nn.Module] = []
    if config.expanded != config.in_channels:
        layers.append(conv_norm(factory, into, hidden, 1, config.activation))
    depthwise = factory.conv(hidden, hidden, config.kernel, stride, groups=hidden)
    layers.append(nn.Sequential(depthwise, factory.normalise(hidden), config.activation()))
    if config.squeeze:
        layers.append(Squeeze(factory, hidden, style.squeeze_channels(into, hidden), style))
    narrow = conv_norm(factory, hidden, out, 1)
    return [*layers, *narrow] if style.flat else [*layers, narrow]
