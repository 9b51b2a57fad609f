"""What an encoder offers to the decoders above it; the contract suite checks it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from medseg.planning.stages import Axes


class Layout(NamedTuple):
    """Where an encoder strides and dilates.

    Parameters
    ----------
    steps : tuple of tuple of int
        Step into each level along each axis (1 or 2).
    dilations : tuple of tuple of int
        Dilation of the convolutions in each level along each axis.
    reductions : tuple of tuple of int
        Product of the steps up to and including each level.
    """

    steps: tuple[Axes, ...]
    dilations: tuple[Axes, ...]
    reductions: tuple[Axes, ...]

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.steps[0])


class Encoder(nn.Module):
    """Base of every encoder.

    Parameters
    ----------
    channels : tuple of int
        Of the five features, finest first.
    layout : Layout
        Feature i has ``ceil(size / layout.reductions[i])`` voxels along each axis.

    Notes
    -----
    ``forward`` takes ``image_BCIJK`` (or ``image_BCIJ``) of any size and gives a list of five
    features. Parameters and buffers of the 2-D form have the names and shapes of torchvision's
    network of the same name (without its classifier), so that its published weights load.
    """

    def __init__(self, channels: tuple[int, ...], layout: Layout) -> None:
        super().__init__()
        self.channels = channels
        self.layout = layout

    def forward(self, image_BCIJK: Tensor) -> list[Tensor]:
        """Five features, finest first."""
        raise NotImplementedError
