"""Sample stack: three convolutions at full resolution."""

from __future__ import annotations

from typing import Annotated

import msgspec
from torch import nn


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose."""

    width: Annotated[int, msgspec.Meta(ge=1)] = 12


def build(
    settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int
) -> nn.Module:
    """Make the network: ``image_BCIJK`` to ``logits_BLIJK`` of the same spatial size."""
    return Stack(in_channels, out_channels, spatial_dims=spatial_dims, width=settings.width)


class Stack(nn.Module):
    """Three convolutions; a class that keeps its arguments under their names."""

    def __init__(
        self, in_channels: int, out_channels: int, spatial_dims: int = 3, width: int = 12
    ) -> None:
        super().__init__()
        self.width = width
        conv = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
        self.layers = nn.Sequential(
            conv(in_channels, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            conv(width, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            conv(width, out_channels, 1),
        )

    def forward(self, image):
        return self.layers(image)
