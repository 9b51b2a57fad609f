"""What every architecture over an encoder takes from the planner's stages."""

from __future__ import annotations

import math

from medseg.networks.encoders import LEVELS, EncoderSettings
from medseg.planning.stages import Axes, Stages

SMALL_PATCH = 64
"""Below so many voxels along the shortest axis, a finer map is worth its price."""

PUBLISHED_STEM = 64
"""Channels of the first level of a ResNet."""


def planned_encoder(stages: Stages, *, dilate: bool) -> EncoderSettings:
    """A ResNet-18 as wide as the budget allows, striding where the planner halves the patch.

    A dilating one takes three quarters of that width: its widest levels see the finest of its maps.

    Parameters
    ----------
    stages : Stages
    dilate : bool
        Whether to stop at an output stride: 4 where the shortest axis of the patch (those of one
        voxel aside) has fewer than 64 voxels, else 8.
    """
    unit = (1,) * stages.spatial_dims
    strides = (*stages.strides, *(unit for _ in range(LEVELS)))[:LEVELS]
    shortest = min((n for n in stages.patch if n > 1), default=1)
    finest = 4 if shortest < SMALL_PATCH else 8
    return EncoderSettings(
        width=stages.features[0] / PUBLISHED_STEM * (0.75 if dilate else 1),
        strides=strides,
        output_stride=finest if dilate else None,
    )


def map_size(patch: Axes, reduction: Axes) -> Axes:
    """Voxels of a feature map of a patch, along each axis."""
    return tuple(math.ceil(n / step) for n, step in zip(patch, reduction, strict=True))
