"""VGG-16 with norms (Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015).

A level ends with its pool, so that level 0 has half the image's resolution. The convolutions in
front of a pool work at the resolution of the level before.
"""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.blocks.factory import ConvFactory, StepPool, Stride, levels_of
from medseg.networks.encoders.protocol import Encoder, Layout

# Configuration D: convolutions in front of each pool, and their channels.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class VGG(Encoder):
    """Convolutions with norms and ReLUs, five pools among them."""

    def __init__(self, layout: Layout, factory: ConvFactory, *, in_channels: int) -> None:
        widths = [factory.channels(published) for _, published in BLOCKS]
        super().__init__(tuple(widths), layout)
        layers: list[nn.Module] = []
        channels, unit = in_channels, (1,) * layout.spatial_dims
        for level, (count, _), width in zip(levels_of(layout), BLOCKS, widths, strict=True):
            stride = Stride(unit, level.entry.dilation)
            for _ in range(count):
                conv = factory.conv(channels, width, 3, stride, bias=True)
                layers += [conv, factory.normalise(width), nn.ReLU(inplace=True)]
                channels = width
            layers.append(StepPool(2, level))
        self.features = nn.Sequential(*layers)

    def forward(self, image_BCIJK: Tensor) -> list[Tensor]:
        x, features = image_BCIJK, []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, StepPool):
                features.append(x)
        return features


def build(layout: Layout, *, in_channels: int, width: float, norm: str) -> VGG:
    """Make the encoder; see :class:`VGG`."""
    return VGG(layout, ConvFactory(layout.spatial_dims, width, norm), in_channels=in_channels)
