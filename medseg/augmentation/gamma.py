"""A power curve over the intensities: tissues brighter or darker in unlike degree."""

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
from medseg.augmentation._statistics import with_statistics_of
from medseg.augmentation.protocol import Draw, IntensityAugmentation, PatchAxes


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    gamma : tuple of float
        The exponent; below 1 dark tissues become brighter.
    inverted : bool
        Whether the curve applies to the negative image.
    keep_statistics : bool
        Whether each channel keeps its mean and standard deviation.
    """

    probability: Probability = 0.2
    gamma: Range = (0.7, 1.5)
    inverted: bool = False
    keep_statistics: bool = True

    def __post_init__(self) -> None:
        check_range("gamma", self.gamma, least=0.01, most=100)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """MONAI's `RandAdjustContrastd` and nnU-Net's gamma, channel by channel."""
    return _Gamma(settings, axes)


class _Gamma(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        return {"gamma": uniform(generator, (shape[0],), self.settings.gamma)}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        sign, axes = (-1 if self.settings.inverted else 1), spatial_axes(image)
        before = sign * image
        low = before.amin(axes, keepdim=True)
        width = before.amax(axes, keepdim=True) - low
        after = ((before - low) / (width + 1e-7)) ** expand_to(draw["gamma"], image) * width + low
        if self.settings.keep_statistics:
            after = with_statistics_of(before, after)
        return sign * after
