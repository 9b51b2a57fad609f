"""SegResNet: a residual encoder and a slim decoder that adds its skips; MONAI's, wrapped.

Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization (BrainLes 2018),
without the autoencoder.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from monai.networks.nets import SegResNet

from medseg.errors import PlanError
from medseg.networks.blocks.padded import Padded
from medseg.planning.stages import Stages

GROUPS = 8
PUBLISHED_BLOCKS = (1, 2, 2, 4)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    features : int
        Channels of the finest stage; they double with every stage.
    blocks_down : tuple of int
        Residual blocks of each stage on the way down; every stage but the first halves all axes.
    blocks_up : tuple of int
        Residual blocks of each stage on the way up, one stage fewer; empty means 1 each.
    norm : {"instance", "group"}
        Normalisation; the published one is over groups of channels, eight of them.
    """

    features: int = 32
    blocks_down: tuple[int, ...] = PUBLISHED_BLOCKS
    blocks_up: tuple[int, ...] = ()
    norm: Literal["instance", "group"] = "instance"


def build(settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int) -> Padded:
    """Make the network.

    Raises
    ------
    PlanError
        When stages or widths do not fit together.
    """
    down = settings.blocks_down
    up = settings.blocks_up or (1,) * (len(down) - 1)
    if len(down) < 2 or len(up) != len(down) - 1 or min(*down, *up) < 1:
        raise PlanError(
            f"blocks_down {down} needs two stages or more, blocks_up {up} one fewer, all above 0"
        )
    if settings.features < 1 or (settings.norm == "group" and settings.features % GROUPS):
        raise PlanError(
            f"features must be positive, and a multiple of {GROUPS} with group norm, got"
            f" {settings.features}"
        )
    norm = ("group", {"num_groups": GROUPS})
    network = SegResNet(
        spatial_dims=spatial_dims,
        init_filters=settings.features,
        in_channels=in_channels,
        out_channels=out_channels,
        blocks_down=down,
        blocks_up=up,
        norm=norm if settings.norm == "group" else ("instance", {"affine": True}),
    )
    return Padded(network, (2 ** (len(down) - 1),) * spatial_dims)


def suggest(stages: Stages) -> Settings:
    """Half the budget's width and as many stages as the patch has, up to the published four.

    Every stage halves all axes alike; a plan with coarse slices is better served by a U-Net.
    """
    count = min(max(len(stages.strides), 2), len(PUBLISHED_BLOCKS))
    return Settings(features=max(stages.features[0] // 2, 1), blocks_down=PUBLISHED_BLOCKS[:count])
