"""The patch at fewer voxels and back: scans of lower resolution."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from medseg.augmentation._ranges import Probability, Range, check_range, uniform
from medseg.augmentation.protocol import Draw, IntensityAugmentation, PatchAxes


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    zoom : tuple of float
        Share of the voxels along each axis that is left, the same for all axes.
    """

    probability: Probability = 0.1
    zoom: Range = (0.5, 1.0)

    def __post_init__(self) -> None:
        check_range("zoom", self.zoom, least=0.05, most=1)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """nnU-Net's low resolution: nearest voxels down, linear interpolation up.

    MONAI's `RandSimulateLowResolutiond` takes the voxel before the place it wants, which shifts the
    image against its labels; here it is the nearest one.
    """
    return _LowResolution(settings, axes)


class _LowResolution(IntensityAugmentation):
    asks_numbers = True

    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        return {"zoom": uniform(generator, (shape[0],), self.settings.zoom)}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        size, linear = image.shape[2:], "trilinear" if image.dim() == 5 else "bilinear"
        changed = []
        for sample, zoom in zip(image.split(1), draw["zoom"].tolist(), strict=True):
            fewer = [max(round(n * zoom), 1) for n in size]
            coarse = interpolate(sample, fewer, mode="nearest-exact")
            changed.append(interpolate(coarse, size, mode=linear, align_corners=False))
        return torch.cat(changed)
