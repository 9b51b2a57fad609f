"""Distances from the mean times a factor, within the old range: flatter or steeper contrast."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from medseg.augmentation._ranges import (
    Probability,
    Range,
    check_range,
    expand_to,
    spatial_axes,
    uniform,
)
from medseg.augmentation.protocol import Draw, IntensityAugmentation, PatchAxes


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    factor : tuple of float
        Of the distance of each intensity from the channel's mean.
    """

    probability: Probability = 0.15
    factor: Range = (0.75, 1.25)

    def __post_init__(self) -> None:
        check_range("factor", self.factor, least=0)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """nnU-Net's contrast, which keeps each channel's least and largest intensity as bounds."""
    return _Contrast(settings, axes)


class _Contrast(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        return {"factor": uniform(generator, (shape[0],), self.settings.factor)}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        axes = spatial_axes(image)
        mean = image.mean(axes, keepdim=True)
        low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
        changed = mean + expand_to(draw["factor"], image) * (image - mean)
        return torch.clamp(changed, low, high)
