"""A softer image: thicker slices, smoother reconstruction kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from medseg.augmentation._ranges import Probability, Range, check_range, expand_to, uniform
from medseg.augmentation.protocol import Draw, IntensityAugmentation, PatchAxes

TRUNCATED = 4.0
"""Standard deviations after which the Gaussian is cut off, as in MONAI."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    sigma_voxels : tuple of float
        Standard deviation of the Gaussian, drawn for each axis.
    """

    probability: Probability = 0.1
    sigma_voxels: Range = (0.5, 1.0)

    def __post_init__(self) -> None:
        check_range("sigma_voxels", self.sigma_voxels, least=0.05, most=20)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """MONAI's `RandGaussianSmoothd`, but edges are continued instead of darkened."""
    return _GaussianBlur(settings, axes)


class _GaussianBlur(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        return {"sigma": uniform(generator, (shape[0], len(shape) - 2), self.settings.sigma_voxels)}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        tail = math.ceil(TRUNCATED * self.settings.sigma_voxels[1])
        for axis in range(2, image.dim()):
            image = _blur(image, draw["sigma"][:, axis - 2], axis=axis, tail=tail)
        return image


def _blur(image: Tensor, sigma: Tensor, *, axis: int, tail: int) -> Tensor:
    """Convolution along one axis as a sum of shifted images: each sample has its own kernel."""
    away = torch.arange(-tail, tail + 1, device=image.device, dtype=torch.float32)
    scale = math.sqrt(0.5) / sigma[:, None]
    # the Gaussian integrated over each voxel, as MONAI's gaussian_1d(approx="erf")
    kernel = torch.erf(scale * (away + 0.5)) - torch.erf(scale * (away - 0.5))
    kernel = kernel / kernel.sum(1, keepdim=True)
    size = image.shape[axis]
    first, last = image.narrow(axis, 0, 1), image.narrow(axis, size - 1, 1)
    edges = [1] * image.dim()
    edges[axis] = tail
    padded = torch.cat([first.repeat(edges), image, last.repeat(edges)], axis)
    blurred = torch.zeros_like(image)
    for shift in range(2 * tail + 1):
        blurred += expand_to(kernel[:, shift], image) * padded.narrow(axis, shift, size)
    return blurred
