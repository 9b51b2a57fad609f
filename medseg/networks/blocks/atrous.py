"""Convolutions of the heads that stand on a dilated encoder, and pooling to a few cells."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks.factory import ConvFactory, Stride
from medseg.networks.blocks.layers import Axes


def atrous_block(
    factory: ConvFactory, channels: int, width: int, *, dilation: Axes = (), separable: bool = False
) -> nn.Sequential:
    """A 3-wide convolution with its norm and a ReLU.

    Parameters
    ----------
    factory : ConvFactory
    channels, width : int
    dilation : tuple of int
        Of the kernel along each axis; empty means 1.
    separable : bool
        Whether each channel is convolved by itself, and channels are mixed after it (Chollet,
        Xception, CVPR 2017).
    """
    unit = (1,) * factory.spatial_dims
    stride = Stride(unit, dilation or unit)
    if not separable:
        layers = [factory.conv(channels, width, 3, stride)]
    else:
        layers = [
            factory.conv(channels, channels, 3, stride, groups=channels),
            factory.conv(channels, width, 1),
        ]
    return nn.Sequential(*layers, factory.normalise(width), nn.ReLU(inplace=True))


def pointwise_block(factory: ConvFactory, channels: int, width: int) -> nn.Sequential:
    """A 1-wide convolution with its norm and a ReLU."""
    return nn.Sequential(
        factory.conv(channels, width, 1), factory.normalise(width), nn.ReLU(inplace=True)
    )


def pool_to(x_BCIJK: Tensor, cells: Axes) -> Tensor:
    """Average over a grid of cells, as `torch.nn.AdaptiveAvgPool3d` does.

    Parameters
    ----------
    x_BCIJK : torch.Tensor
        A map; ``x_BCIJ`` in 2-D.
    cells : tuple of int
        Cells along each axis, at most as many as there are voxels.

    Returns
    -------
    torch.Tensor
        ``x_BCIJK`` with `cells` voxels.

    Notes
    -----
    Cell c of n over an axis of s voxels is ``floor(c s / n)`` to ``ceil((c + 1) s / n)``. Written
    as one matrix product for each axis, which every exchange format can express; torch's own
    adaptive pooling has no ONNX form unless s is a multiple of n.
    """
    for count in cells:
        size = x_BCIJK.shape[2]
        weight_NS = x_BCIJK.new_tensor(_cell_weights(size, count))
        x_BCIJK = torch.tensordot(x_BCIJK, weight_NS, dims=([2], [1]))
    return x_BCIJK


def _cell_weights(size: int, count: int) -> list[list[float]]:
    """Share of each of `size` voxels in each of `count` cells."""
    rows = []
    for cell in range(count):
        first, stop = cell * size // count, -(-(cell + 1) * size // count)
        rows.append([(first <= voxel < stop) / (stop - first) for voxel in range(size)])
    return rows
