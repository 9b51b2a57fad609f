"""What every encoder is built from: channel counts, strided and dilated convolutions, norms.

Dilation follows the "à trous" rule to the letter (Holschneider et al. 1989; Chen et al., DeepLab,
TPAMI 2018): the convolution that would have strided keeps the dilation of what it reads, and all
after it take the dilation of their level. A dilated encoder with the same weights therefore
answers at the voxels of the striding one as that one does, and in between as well.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from medseg.networks.blocks.instance_norm import InstanceNorm
from medseg.networks.encoders.protocol import Layout
from medseg.planning.stages import Axes


class Stride(NamedTuple):
    """How a kernel travels over a map.

    Parameters
    ----------
    step, dilation : tuple of int
        From one place to the next; from one tap to the next; along each axis.
    """

    step: Axes
    dilation: Axes


class Level(NamedTuple):
    """The two strides within one level of an encoder.

    Parameters
    ----------
    entry : Stride
        Of the one convolution or pool that steps into the level.
    inner : Stride
        Of every other one at the level's resolution.
    """

    entry: Stride
    inner: Stride

    @property
    def nominal_stride(self) -> Axes:
        """Step along each axis before the output stride turned any into a dilation."""
        pairs = zip(self.entry.dilation, self.inner.dilation, self.entry.step, strict=True)
        return tuple(step * after // before for before, after, step in pairs)


def levels_of(layout: Layout) -> list[Level]:
    """The strides of all five levels."""
    unit = (1,) * layout.spatial_dims
    before = (unit, *layout.dilations[:-1])
    return [
        Level(Stride(step, earlier), Stride(unit, dilation))
        for step, earlier, dilation in zip(layout.steps, before, layout.dilations, strict=True)
    ]


class ConvFactory(NamedTuple):
    """Makes the layers of one encoder.

    Parameters
    ----------
    spatial_dims : int
        2 or 3.
    width : float
        Factor on published channel counts.
    norm : {"instance", "batch"}
    eps, momentum : float
        Of batch norm; torch's defaults unless a paper says otherwise.
    """

    spatial_dims: int
    width: float
    norm: str
    eps: float = 1e-5
    momentum: float = 0.1

    def channels(self, published: int) -> int:
        """The published count times the width; see :func:`multiple_of_8`."""
        return multiple_of_8(published * self.width)

    def conv(
        self,
        channels: int,
        width: int,
        kernel: int,
        stride: Stride | None = None,
        *,
        groups: int = 1,
        bias: bool = False,
    ) -> nn.Module:
        """A convolution, padded so that a map of n voxels becomes ``ceil(n / step)``."""
        unit = (1,) * self.spatial_dims
        step, dilation = stride or Stride(unit, unit)
        if kernel == 1:
            dilation = unit
        padding = tuple(n * (kernel // 2) for n in dilation)
        conv_class: type[nn.Module] = nn.Conv3d if self.spatial_dims == 3 else nn.Conv2d
        return conv_class(
            channels,
            width,
            kernel,
            stride=step,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def normalise(self, channels: int) -> nn.Module:
        """The norm, in the form that bears maps of a single voxel."""
        if self.norm == "instance":
            return InstanceNorm(channels)
        norm_class = VoxelBatchNorm3d if self.spatial_dims == 3 else VoxelBatchNorm2d
        return norm_class(channels, eps=self.eps, momentum=self.momentum)


def multiple_of_8(count: float) -> int:
    """The nearest multiple of 8, at least 8, at most a tenth below `count`.

    Notes
    -----
    The rounding of Sandler et al. (2018) in the published code of MobileNetV2.
    """
    rounded = max(8, int(count + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * count else rounded + 8


class VoxelBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of ``x_BCIJ`` that bears one value per channel; see `_by_running_statistics`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        single_value = self.training and input.numel() == input.shape[1]
        return _by_running_statistics(self, input) if single_value else super().forward(input)


class VoxelBatchNorm3d(nn.BatchNorm3d):
    """Batch norm of ``x_BCIJK`` that bears one value per channel; see `_by_running_statistics`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        single_value = self.training and input.numel() == input.shape[1]
        return _by_running_statistics(self, input) if single_value else super().forward(input)


def _by_running_statistics(norm: nn.BatchNorm2d | nn.BatchNorm3d, input: Tensor) -> Tensor:  # noqa: A002
    """Batch norm as in evaluation, for one value per channel in training, which torch refuses.

    One value has no spread. The statistics learnt from larger maps are the best estimate there
    is; they are not updated.
    """
    return nn.functional.batch_norm(
        input, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )


class StepPool(nn.Module):
    """Maximum over a window, for maps that are nowhere negative (behind a ReLU).

    Parameters
    ----------
    window : int
        Width of the window along the axes that step; it is 1 along the others.
    level : Level

    Notes
    -----
    A map of n voxels becomes ``ceil(n / step)``. Odd windows are centred, even ones begin at
    their voxel. Zeros pad, which changes no maximum of such maps.
    """

    def __init__(self, window: int, level: Level) -> None:
        super().__init__()
        self.step, self.dilation = level.entry
        self.window = tuple(window if step > 1 else 1 for step in level.nominal_stride)
        self.pads: list[int] = []
        for size, dilation in zip(reversed(self.window), reversed(self.dilation), strict=True):
            self.pads += [(size - 1) // 2 * dilation, size // 2 * dilation]

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        pool = nn.functional.max_pool3d if x_BCIJK.ndim == 5 else nn.functional.max_pool2d
        padded = nn.functional.pad(x_BCIJK, self.pads) if any(self.pads) else x_BCIJK
        pooled: Tensor = pool(padded, self.window, self.step, 0, self.dilation)
        return pooled
