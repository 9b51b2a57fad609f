"""Noise of the receiver: a random number added to every voxel."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from medseg.augmentation._ranges import Probability, Range, check_range, integers, uniform
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
    asks_numbers = True

    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        return {
            "std": uniform(generator, (shape[0],), self.settings.noise_std),
            "seed": integers(generator, (shape[0],), (0, 2**31 - 1)),
        }

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        noise, of_sample = torch.empty_like(image), torch.Generator(image.device)
        for sample, std, seed in zip(
            noise, draw["std"].tolist(), draw["seed"].tolist(), strict=True
        ):
            of_sample.manual_seed(seed)
            for channel in sample:
                channel.normal_(0, std, generator=of_sample)
        return image + noise
