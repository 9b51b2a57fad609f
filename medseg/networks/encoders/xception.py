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
    kit : ConvFactory
    in_channels : int
    """

    def __init__(self, layout: Layout, kit: ConvFactory, *, in_channels: int) -> None:
        a, b, c, d, e = widths = [kit.channels(published) for published in WIDTHS]
        super().__init__(tuple(widths), layout)
        first, *entry, last = levels_of(layout)
        narrow, exit_a, exit_b = (kit.channels(published) for published in (32, 1024, 1536))
        rest = Level(entry[-1].stay, entry[-1].stay)
        stem = [*_conv(kit, in_channels, narrow, first.enter), *_conv(kit, narrow, a, first.stay)]
        middle = [Block(kit, (d, d, d, d), rest) for _ in range(MIDDLE)]
        end = [Separable(kit, exit_a, exit_b, last.stay), Separable(kit, exit_b, exit_b, last.stay)]
        self.flows = nn.ModuleList(
            [
                nn.Sequential(*stem),
                Block(kit, (a, b, b, b), entry[0]),
                Block(kit, (b, c, c, c), entry[1]),
                nn.Sequential(Block(kit, (c, d, d, d), entry[2]), *middle),
                nn.Sequential(
                    Block(kit, (d, d, exit_a, exit_a), last),
                    *end,
                    Separable(kit, exit_b, e, last.stay),
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
    kit : ConvFactory
    channels, width : int
    move : Stride
    linear : bool, default False
        Whether the last ReLU is left out.
    """

    def __init__(
        self, kit: ConvFactory, channels: int, width: int, move: Stride, *, linear: bool = False
    ) -> None:
        super().__init__(
            kit.conv(channels, channels, 3, move, groups=channels),
            kit.normalise(channels),
            nn.ReLU(inplace=True),
            kit.conv(channels, width, 1),
            kit.normalise(width),
            *([] if linear else [nn.ReLU(inplace=True)]),
        )


class Block(nn.Module):
    """Three separable convolutions, the last of which steps, and a shortcut.

    Parameters
    ----------
    kit : ConvFactory
    channels : tuple of int
        That come, and behind each of the three.
    level : Level
        Its ``enter`` is the move of the third.
    """

    def __init__(self, kit: ConvFactory, channels: tuple[int, int, int, int], level: Level) -> None:
        super().__init__()
        at_rest = Stride((1,) * kit.spatial_dims, level.enter.dilation)
        into, one, two, out = channels
        self.convolutions = nn.Sequential(
            nn.ReLU(),
            Separable(kit, into, one, at_rest),
            Separable(kit, one, two, at_rest),
            Separable(kit, two, out, level.enter, linear=True),
        )
        changes = into != out or set(level.asked) != {1}
        shortcut = [kit.conv(into, out, 1, level.enter), kit.normalise(out)] if changes else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        y: Tensor = self.convolutions(x_BCIJK) + self.shortcut(x_BCIJK)
        return y


def build(layout: Layout, *, in_channels: int, width: float, norm: str) -> Xception:
    """Make the encoder; see :class:`Xception`."""
    return Xception(layout, ConvFactory(layout.spatial_dims, width, norm), in_channels=in_channels)


def _conv(kit: ConvFactory, channels: int, width: int, move: Stride) -> list[nn.Module]:
    return [kit.conv(channels, width, 3, move), kit.normalise(width), nn.ReLU(inplace=True)]
