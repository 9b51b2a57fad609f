"""All intensities times a factor: another gain of the scanner."""

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
    factor : tuple of float
    """

    probability: Probability = 0.15
    factor: Range = (0.75, 1.25)

    def __post_init__(self) -> None:
        check_range("factor", self.factor, least=0)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """MONAI's `RandScaleIntensityd` and nnU-Net's multiplicative brightness."""
    return _Brightness(settings, axes)


class _Brightness(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        return {"factor": uniform(generator, (shape[0],), self.settings.factor)}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        return image * expand_to(draw["factor"], image)
