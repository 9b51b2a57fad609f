"""ResNet-18 (He et al., Deep residual learning for image recognition, CVPR 2016)."""

from __future__ import annotations

from medseg.networks.blocks.factory import ConvFactory
from medseg.networks.encoders._resnet import BasicBlock, ResNet
from medseg.networks.encoders.protocol import Layout


def build(layout: Layout, *, in_channels: int, width: float, norm: str) -> ResNet:
    """Make the encoder; see :class:`~medseg.networks.encoders._resnet.ResNet`."""
    factory = ConvFactory(layout.spatial_dims, width, norm)
    return ResNet(layout, factory, in_channels=in_channels, block=BasicBlock, depths=(2, 2, 2, 2))
