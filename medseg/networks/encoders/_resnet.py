"""Residual networks (He et al., Deep residual learning for image recognition, CVPR 2016).

Bottlenecks stride in their 3-wide convolution, as in torchvision ("v1.5") and in Goyal et al.
(2017), Accurate, large minibatch SGD.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks.factory import ConvFactory, Level, StepPool, levels_of
from medseg.networks.encoders.protocol import Encoder, Layout

STAGES = (64, 128, 256, 512)


class ResNet(Encoder):
    """Stem and four stages of residual blocks.

    Parameters
    ----------
    layout : Layout
        Steps and dilations; level 0 is the 7-wide stem, the pool steps into level 1.
    factory : ConvFactory
    in_channels : int
    block : type
    depths : tuple of int
        Blocks in each of the four stages.
    """

    def __init__(
        self,
        layout: Layout,
        factory: ConvFactory,
        *,
        in_channels: int,
        block: type[BasicBlock | Bottleneck],
        depths: tuple[int, ...],
    ) -> None:
        widths = [factory.channels(published) for published in STAGES]
        super().__init__((widths[0], *(block.expansion * width for width in widths)), layout)
        stem, *levels = levels_of(layout)
        self.conv1 = factory.conv(in_channels, widths[0], 7, stem.entry)
        self.bn1 = factory.normalise(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = StepPool(3, levels[0])
        pooled = Level(levels[0].inner, levels[0].inner)
        channels = widths[0]
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            level = pooled if number == 1 else levels[number - 1]
            strides = [level.entry] + [level.inner] * (depth - 1)
            blocks = []
            for stride in strides:
                blocks.append(block(factory, channels, width, Level(stride, level.inner)))
                channels = block.expansion * width
            self.add_module(f"layer{number}", nn.Sequential(*blocks))

    def forward(self, image_BCIJK: Tensor) -> list[Tensor]:
        x = self.relu(self.bn1(self.conv1(image_BCIJK)))
        features = [x]
        x = self.maxpool(x)
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
            features.append(x)
        return features


class BasicBlock(nn.Module):
    """Two 3-wide convolutions and a shortcut.

    Parameters
    ----------
    factory : ConvFactory
    channels, width : int
        Channels in; channels out over the expansion.
    level : Level
        Strides of the first and of the second convolution.
    """

    expansion = 1

    def __init__(self, factory: ConvFactory, channels: int, width: int, level: Level) -> None:
        super().__init__()
        self.conv1 = factory.conv(channels, width, 3, level.entry)
        self.bn1 = factory.normalise(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = factory.conv(width, width, 3, level.inner)
        self.bn2 = factory.normalise(width)
        self.downsample = _shortcut(factory, channels, width, level)

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x_BCIJK)))
        y = self.bn2(self.conv2(y))
        return torch.relu_(y + (self.downsample(x_BCIJK) if self.downsample else x_BCIJK))


class Bottleneck(nn.Module):
    """A 3-wide convolution between two 1-wide ones, and a shortcut.

    Parameters
    ----------
    factory : ConvFactory
    channels, width : int
        Channels in; channels out over the expansion.
    level : Level
        Its ``entry`` is the stride of the 3-wide convolution.
    """

    expansion = 4

    def __init__(self, factory: ConvFactory, channels: int, width: int, level: Level) -> None:
        super().__init__()
        self.conv1 = factory.conv(channels, width, 1)
        self.bn1 = factory.normalise(width)
        self.conv2 = factory.conv(width, width, 3, level.entry)
        self.bn2 = factory.normalise(width)
        self.conv3 = factory.conv(width, self.expansion * width, 1)
        self.bn3 = factory.normalise(self.expansion * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(factory, channels, self.expansion * width, level)

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x_BCIJK)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu_(y + (self.downsample(x_BCIJK) if self.downsample else x_BCIJK))


def _shortcut(
    factory: ConvFactory, channels: int, width: int, level: Level
) -> nn.Sequential | None:
    """A 1-wide convolution where the shape changes (or would, if not dilated); else None."""
    if channels == width and set(level.nominal_stride) == {1}:
        return None
    return nn.Sequential(factory.conv(channels, width, 1, level.entry), factory.normalise(width))
