"""Swin UNETR: windows of self-attention down, residual convolutions up; MONAI's, wrapped.

Hatamizadeh et al., Swin UNETR (BrainLes 2021).
"""

from __future__ import annotations

import importlib.util

import msgspec
from monai.networks.nets import SwinUNETR

from medseg.errors import PlanError
from medseg.networks.blocks.padded import Padded
from medseg.planning.stages import Stages

MULTIPLE = 32
"""Patches of two voxels, halved four times."""

UNIT = 12
"""Channels the published code asks a multiple of."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    features : int
        Channels of the finest stage, a multiple of 12; published: 48.
    depths : tuple of int
        Attention blocks of each of the four stages.
    heads : tuple of int
        Attention heads of each stage.
    window : int
        Voxels along each axis of a window of attention.
    """

    features: int = 48
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int = 7


def build(settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int) -> Padded:
    """Make the network.

    Raises
    ------
    PlanError
        When the width does not suit the heads, a number is not positive, or the package einops,
        which MONAI's network imports, is not installed.
    """
    if importlib.util.find_spec("einops") is None:
        raise PlanError(
            "swin_unetr needs the package einops; try: pip install einops", code="NOT_INSTALLED"
        )
    if settings.features < 1 or settings.features % UNIT:
        raise PlanError(f"features must be a positive multiple of {UNIT}, got {settings.features}")
    if min(*settings.depths, *settings.heads, settings.window) < 1:
        raise PlanError(
            f"depths {settings.depths}, heads {settings.heads} and window {settings.window} must"
            " be positive"
        )
    widths = [settings.features * 2**stage for stage in range(4)]
    if any(width % heads for width, heads in zip(widths, settings.heads, strict=True)):
        raise PlanError(f"heads {settings.heads} must divide the stages' widths {widths}")
    network = SwinUNETR(
        in_channels=in_channels,
        out_channels=out_channels,
        feature_size=settings.features,
        depths=settings.depths,
        num_heads=settings.heads,
        window_size=settings.window,
        spatial_dims=spatial_dims,
    )
    return Padded(network, (MULTIPLE,) * spatial_dims)


def suggest(stages: Stages) -> Settings:
    """Three quarters of the budget's width; images are padded to multiples of 32 voxels."""
    return Settings(features=max(stages.features[0] * 3 // 4 // UNIT, 1) * UNIT)
