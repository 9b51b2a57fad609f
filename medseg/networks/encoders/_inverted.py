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
        Level it belongs to; the first cell of a level steps into it, except for level 0.
    kernel : int
    into, hidden, out : int
        Channels that come, that it works with, that it gives.
    activation : type
        Behind its first two convolutions.
    squeeze : bool
        Whether it has a squeeze-and-excitation.
    """

    level: int
    kernel: int
    into: int
    hidden: int
    out: int
    activation: type[nn.Module]
    squeeze: bool = False


class FamilyStyle(NamedTuple):
    """In what the three families differ.

    Parameters
    ----------
    name : str
        Attribute under which torchvision keeps a cell's layers.
    flat : bool
        Whether the last convolution and its norm stand among the layers, or in a part of their own.
    squeezed : callable
        Channels within a squeeze, from those of the cell's input and of its hidden maps.
    look, gate : type
        Activations behind the two convolutions of a squeeze.
    """

    name: str
    flat: bool = False
    squeezed: Callable[[int, int], int] = max
    look: type[nn.Module] = nn.ReLU
    gate: type[nn.Module] = nn.Sigmoid


class InvertedEncoder(Encoder):
    """A chain of modules, each of one level.

    Parameters
    ----------
    layout : Layout
    parts : list of tuple of (int, torch.nn.Module)
        Level and module, in order.
    channels : tuple of int
    """

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
    """The layers of a cell, with a shortcut where the shape is kept.

    Parameters
    ----------
    name : str
        Attribute under which the layers are kept.
    layers : list of torch.nn.Module
        From the input to what is added to it.
    shortcut : bool
        Whether the input is added.
    """

    def __init__(self, name: str, layers: list[nn.Module], *, shortcut: bool) -> None:
        super().__init__()
        self.name = name
        self.shortcut = shortcut
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self.name)(x_BCIJK)
        return x_BCIJK + y if self.shortcut else y


class Squeeze(nn.Module):
    """Weigh the channels by a look at their means (Hu et al. 2018).

    Parameters
    ----------
    kit : ConvFactory
    channels, squeezed : int
        Channels of the map; channels between the two convolutions.
    form : FamilyStyle
    """

    def __init__(self, kit: ConvFactory, channels: int, squeezed: int, form: FamilyStyle) -> None:
        super().__init__()
        self.fc1 = kit.conv(channels, squeezed, 1, bias=True)
        self.fc2 = kit.conv(squeezed, channels, 1, bias=True)
        self.activation = form.look()
        self.scale_activation = form.gate()

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        mean = x_BCIJK.mean(tuple(range(2, x_BCIJK.ndim)), keepdim=True)
        scale: Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(mean))))
        return scale * x_BCIJK


def inverted_encoder(
    kit: ConvFactory,
    layout: Layout,
    cells: Sequence[InvertedResidualConfig],
    *,
    form: FamilyStyle,
    in_channels: int,
    last: tuple[int, type[nn.Module]],
) -> InvertedEncoder:
    """Stem, one module for each cell, and a 1-wide convolution.

    Parameters
    ----------
    kit : ConvFactory
    layout : Layout
    cells : sequence of InvertedResidualConfig
        In order.
    form : FamilyStyle
    in_channels : int
    last : tuple of (int, type)
        Channels of the last convolution, and the activation behind the first and the last.
    """
    first = stem(kit, layout, in_channels, cells[0].into, activation=last[1])
    blocks = blocks_of(kit, layout, cells, form)
    head = conv_norm(kit, kit.channels(cells[-1].out), kit.channels(last[0]), 1, last[1])
    middle = [(cell.level, block) for cell, block in zip(cells, blocks, strict=True)]
    parts = [(0, first), *middle, (4, head)]
    return InvertedEncoder(layout, parts, channels_of(kit, cells, last[0]))


def stem(
    kit: ConvFactory, layout: Layout, in_channels: int, width: int, *, activation: type[nn.Module]
) -> nn.Sequential:
    """The 3-wide convolution that steps into level 0; `width` before the encoder's width."""
    enter = levels_of(layout)[0].enter
    return conv_norm(kit, in_channels, kit.channels(width), 3, activation, enter)


def blocks_of(
    kit: ConvFactory, layout: Layout, cells: Sequence[InvertedResidualConfig], form: FamilyStyle
) -> list[nn.Module]:
    """One module for each cell; the first of each level but 0 steps."""
    levels = levels_of(layout)
    before = [0, *(cell.level for cell in cells)]
    blocks: list[nn.Module] = []
    for cell, earlier in zip(cells, before, strict=False):
        level = levels[cell.level]
        move = level.stay if cell.level == earlier else level.enter
        layers = _layers(kit, cell, move, form)
        blocks.append(Inverted(form.name, layers, shortcut=cell.into == cell.out))
    return blocks


def channels_of(
    kit: ConvFactory, cells: Sequence[InvertedResidualConfig], last: int
) -> tuple[int, ...]:
    """Channels of the five features: of the last cell of each level, then of the last layer."""
    widths = {cell.level: kit.channels(cell.out) for cell in cells}
    widths[4] = kit.channels(last)
    return tuple(widths.values())


def conv_norm(
    kit: ConvFactory,
    channels: int,
    width: int,
    kernel: int,
    activation: type[nn.Module] | None = None,
    move: Stride | None = None,
) -> nn.Sequential:
    """Convolution, norm and, if any, activation."""
    layers = [kit.conv(channels, width, kernel, move), kit.normalise(width)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def _layers(
    kit: ConvFactory, cell: InvertedResidualConfig, move: Stride, form: FamilyStyle
) -> list[nn.Module]:
    """Widen (where the paper does), convolve each channel, squeeze (if asked), narrow."""
    into, hidden, out = (kit.channels(n) for n in (cell.into, cell.hidden, cell.out))
    layers: list[nn.Module] = []
    if cell.hidden != cell.into:
        layers.append(conv_norm(kit, into, hidden, 1, cell.activation))
    depthwise = kit.conv(hidden, hidden, cell.kernel, move, groups=hidden)
    layers.append(nn.Sequential(depthwise, kit.normalise(hidden), cell.activation()))
    if cell.squeeze:
        layers.append(Squeeze(kit, hidden, form.squeezed(into, hidden), form))
    narrow = conv_norm(kit, hidden, out, 1)
    return [*layers, *narrow] if form.flat else [*layers, narrow]
