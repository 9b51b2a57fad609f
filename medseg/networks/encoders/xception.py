"""The aligned Xception of DeepLab v3+ (Chen et al., ECCV 2018, section 3.2 and figure 4).

Chollet's Xception (CVPR 2017) with sixteen middle blocks, with strides in place of the pools, and
with a norm and a ReLU behind every depthwise convolution. Blocks begin with a ReLU and add a
linear shortcut, as Chollet's do. There is no torchvision form of it.
"""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.blocks.factory import ConvFactory, Level, Stride, levels_of
from medseg.networks.encoders.protocol import Encoder, Layout

MIDDLE = 16
WIDTHS = (64, 128, 256, 728, 2048)


class Xception(Encoder):
    """Entry, middle and exit flow.

    Parameters
    ----------
    layout : Layout
        Steps and dilations; each level but 0 begins with the block that steps into it.
    factory : ConvFactory
    in_channels : int
    """

    def __init__(self, layout: Layout, factory: ConvFactory, *, in_channels: int) -> None:
        a, b, c, d, e = widths = [factory.channels(published) for published in WIDTHS]
        super().__init__(tuple(widths), layout)
        first, *entry, last = levels_of(layout)
        narrow, exit_a, exit_b = (factory.channels(published) for published in (32, 1024, 1536))
        unstrided = Level(entry[-1].inner, entry[-1].inner)
        stem = [
            *_conv(factory, in_channels, narrow, first.entry),
            *_conv(factory, narrow, a, first.inner),
        ]
        middle = [Block(factory, (d, d, d, d), unstrided) for _ in range(MIDDLE)]
        exit_flow = [
            Separable(factory, exit_a, exit_b, last.inner),
            Separable(factory, exit_b, exit_b, last.inner),
        ]
        self.flows = nn.ModuleList(
            [
                nn.Sequential(*stem),
                Block(factory, (a, b, b, b), entry[0]),
                Block(factory, (b, c, c, c), entry[1]),
                nn.Sequential(Block(factory, (c, d, d, d), entry[2]), *middle),
                nn.Sequential(
                    Block(factory, (d, d, exit_a, exit_a), last),
                    *exit_flow,
                    Separable(factory, exit_b, e, last.inner),
                ),
            ]
        )

    def forward(self, image_BCIJK: Tensor) -> list[Tensor]:
        x, features = image_BCIJK, []
        for flow in self.flows:
            x = flow(x)
            features.append(x)
        return features


class Separable(nn.Sequential):
    """Depthwise and 1-wide convolution, each with norm and ReLU.

    Parameters
    ----------
    factory : ConvFactory
    channels, width : int
    stride : Stride
    linear : bool, default False
        Whether the last ReLU is left out.
    """

    def __init__(
        self,
        factory: ConvFactory,
        channels: int,
        width: int,
        stride: Stride,
        *,
        linear: bool = False,
    ) -> None:
        super().__init__(
            factory.conv(channels, channels, 3, stride, groups=channels),
            factory.normalise(channels),
            nn.ReLU(inplace=True),
            factory.conv(channels, width, 1),
            factory.normalise(width),
            *([] if linear else [nn.ReLU(inplace=True)]),
        )


class Block(nn.Module):
    """Three separable convolutions, the last of which steps, and a shortcut.

    Parameters
    ----------
    factory : ConvFactory
    channels : tuple of int
        That come, and behind each of the three.
    level : Level
        Its ``entry`` is the stride of the third.
    """

    def __init__(
        self, factory: ConvFactory, channels: tuple[int, int, int, int], level: Level
    ) -> None:
        super().__init__()
        unit_stride = Stride((1,) * factory.spatial_dims, level.entry.dilation)
        into, first, second, out = channels
        self.convolutions = nn.Sequential(
            nn.ReLU(),
            Separable(factory, into, first, unit_stride),
            Separable(factory, first, second, unit_stride),
            Separable(factory, second, out, level.entry, linear=True),
        )
        changes = into != out or set(level.nominal_stride) != {1}
        shortcut = (
            [factory.conv(into, out, 1, level.entry), factory.normalise(out)] if changes else []
        )
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        y: Tensor = self.convolutions(x_BCIJK) + self.shortcut(x_BCIJK)
        return y


def build(layout: Layout, *, in_channels: int, width: float, norm: str) -> Xception:
    """Make the encoder; see :class:`Xception`."""
    return Xception(layout, ConvFactory(layout.spatial_dims, width, norm), in_channels=in_channels)


def _conv(factory: ConvFactory, channels: int, width: int, stride: Stride) -> list[nn.Module]:
    return [
        factory.conv(channels, width, 3, stride),
        factory.normalise(width),
        nn.ReLU(inplace=True),
    ]
