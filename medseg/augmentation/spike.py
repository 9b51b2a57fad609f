"""Stripes over the whole image: one bad sample in the k-space of an MR scan."""

from __future__ import annotations

import math
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
    amplitude_std : tuple of float
        Of the stripes, in units of the normalised image (whose standard deviation is 1).
    cycles_per_voxel : tuple of float
        How fine the stripes are; their direction is random.
    """

    probability: Probability = 0.05
    amplitude_std: Range = (0.1, 0.5)
    cycles_per_voxel: Range = (0.05, 0.5)

    def __post_init__(self) -> None:
        check_range("amplitude_std", self.amplitude_std, least=0)
        check_range("cycles_per_voxel", self.cycles_per_voxel, least=0, most=0.5)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """A plane wave: a spike of k-space, seen in the image (TorchIO's `RandomSpike`)."""
    return _Spike(settings, axes)


class _Spike(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        count, dims = shape[0], len(shape) - 2
        direction = torch.randn(count, dims, generator=generator, device=generator.device)
        length = uniform(generator, (count, 1), self.settings.cycles_per_voxel)
        return {
            "amplitude": uniform(generator, (count,), self.settings.amplitude_std),
            "cycles": length * torch.nn.functional.normalize(direction, dim=1),
            "phase": uniform(generator, (count,), (0, 2 * math.pi)),
        }

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        angle = expand_to(draw["phase"], image)
        for axis in spatial_axes(image):
            voxels = torch.arange(image.shape[axis], device=image.device)
            turns = 2 * math.pi * draw["cycles"][:, axis - 2, None] * voxels
            angle = angle + expand_to(turns, image).movedim(1, axis)
        return image + expand_to(draw["amplitude"], image) * torch.cos(angle)
