"""A number added to all intensities: another offset of the scanner."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from medseg.augmentation._ranges import Probability, Range, check_range, expand_to, uniform
from medseg.augmentation.protocol import Draw, IntensityAugmentation, PatchAxes


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    offset_std : tuple of float
        What is added, in units of the normalised image (whose standard deviation is 1).
    """

    probability: Probability = 0.1
    offset_std: Range = (-0.1, 0.1)

    def __post_init__(self) -> None:
        check_range("offset_std", self.offset_std)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """MONAI's `RandShiftIntensityd`."""
    return _IntensityShift(settings, axes)


class _IntensityShift(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        return {"offset": uniform(generator, (shape[0],), self.settings.offset_std)}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        return image + expand_to(draw["offset"], image)
