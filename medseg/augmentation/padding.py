"""Sides of a patch without a scan: padded with a constant, or cut off where the patient goes on."""

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
from medseg.augmentation.protocol import Augmentation, Draw, PatchAxes


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    side_share : tuple of float
        How wide a side is, as a share of the patch along that axis; half of the sides get one.
    level : tuple of float
        What a side is filled with: 0 is each channel's smallest value in the patch, 1 its largest.
    zero_share : float
        How often a side is filled with 0 instead, as beyond the edges of a prepared scan.
    keep_statistics : bool
        Whether each channel keeps its mean and standard deviation, as a padded scan does that is
        scaled by its own.
    """

    probability: Probability = 0.1
    side_share: Range = (0.0, 0.3)
    level: Range = (-0.5, 0.5)
    zero_share: Probability = 0.5
    keep_statistics: bool = True

    def __post_init__(self) -> None:
        check_range("side_share", self.side_share, least=0, most=0.5)
        check_range("level", self.level)


def build(settings: Settings, axes: PatchAxes) -> Augmentation:
    """Padding; what lies there is background."""
    return _Padding(settings, axes)


class _Padding(Augmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        count, sides = shape[0], (shape[0], 2, len(shape) - 2)
        padded = uniform(generator, sides, (0, 1)) < 0.5
        return {
            "width": uniform(generator, sides, self.settings.side_share) * padded,
            "level": uniform(generator, (count, 1), self.settings.level),
            "zero": uniform(generator, (count, 1), (0, 1)) < self.settings.zero_share,
        }

    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        inside = torch.ones_like(image[:, :1], dtype=torch.bool)
        for axis in spatial_axes(image):
            size = image.shape[axis]
            middle = (torch.arange(size, device=image.device) + 0.5) / size
            low, high = draw["width"][:, :, axis - 2, None].unbind(1)
            within = (middle > low) & (middle < 1 - high)
            inside = inside & expand_to(within, image).movedim(1, axis)
        padded = torch.where(inside, image, expand_to(self._fill(image, draw), image))
        if self.settings.keep_statistics:
            padded = with_statistics_of(image, padded)
        return padded, label * inside[:, 0]

    def _fill(self, image: Tensor, draw: Draw) -> Tensor:
        """The constant of each channel: (B, C)."""
        axes = spatial_axes(image)
        low, high = image.amin(axes), image.amax(axes)
        return torch.where(draw["zero"], 0, low + draw["level"] * (high - low))
