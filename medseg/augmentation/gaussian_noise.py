"""Noise of the receiver: a random number added to every voxel."""

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
    noise_std : tuple of float
        Standard deviation of the noise, in units of the normalised image (whose own is 1).
    """

    probability: Probability = 0.1
    noise_std: Range = (0.0, 0.1)

    def __post_init__(self) -> None:
        check_range("noise_std", self.noise_std, least=0)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """Gaussian noise, each voxel and channel apart; MONAI's `RandGaussianNoised`."""
    return _GaussianNoise(settings, axes)


class _GaussianNoise(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        std = uniform(generator, (shape[0],), self.settings.noise_std)
        noise = torch.randn(tuple(shape), generator=generator, device=generator.device)
        return {"std": std, "noise": noise}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        return image + expand_to(draw["std"], image) * draw["noise"]
