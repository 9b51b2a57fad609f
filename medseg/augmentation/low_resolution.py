"""The patch at fewer voxels and back: scans of lower resolution."""

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
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        return {"zoom": uniform(generator, (shape[0],), self.settings.zoom)}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        for axis in range(2, image.dim()):
            image = _down_and_up(image, draw["zoom"], axis=axis)
        return image


def _down_and_up(image: Tensor, zoom: Tensor, *, axis: int) -> Tensor:
    """Both steps along one axis as two look-ups: samples of unlike sizes stay one batch."""
    size = image.shape[axis]
    fewer = (size * zoom).round().clamp(min=1)[:, None]
    voxels = torch.arange(size, device=image.device, dtype=torch.float32)
    between = ((voxels + 0.5) * fewer / size - 0.5).clamp(min=0)
    lower = between.floor().minimum(fewer - 1)
    upper = (lower + 1).minimum(fewer - 1)
    low_value, high_value = (
        _take(image, ((index + 0.5) * size / fewer).floor().long(), axis=axis)
        for index in (lower, upper)
    )
    weight = _along(between - lower, image, axis=axis)
    return torch.lerp(low_value, high_value, weight)


def _take(image: Tensor, index: Tensor, *, axis: int) -> Tensor:
    """Voxels of each sample by its own index (B, size) along an axis."""
    wide = _along(index.clamp(max=image.shape[axis] - 1), image, axis=axis)
    return torch.take_along_dim(image, wide.expand_as(image), axis)


def _along(numbers: Tensor, image: Tensor, *, axis: int) -> Tensor:
    """Numbers (B, size) shaped to apply along an axis of the image."""
    return expand_to(numbers, image).movedim(1, axis)
