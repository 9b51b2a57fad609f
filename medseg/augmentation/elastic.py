"""A smooth bending of the patch: soft tissue is pressed and pulled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from medseg.augmentation._geometry import offsets, resample_pair
from medseg.augmentation._ranges import Probability, Range, check_range, expand_to, uniform
from medseg.augmentation.protocol import Draw, ResamplingAugmentation

FOLDING_SHARE = 0.4
"""Of the control points' distance: a cubic B-spline whose coefficients are smaller cannot fold
(Choi and Lee, Graphical Models 62, 2000, give 0.403 in 3-D and 0.488 in 2-D)."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    control_point_mm : float
        Distance of the control points: how local the bending is.
    displacement_mm : tuple of float
        Largest shift of a control point along each axis, drawn for each sample; at most 0.4 of
        `control_point_mm`, so that tissue never folds.
    """

    probability: Probability = 0.2
    control_point_mm: Annotated[float, Meta(gt=0, le=1000)] = 32.0
    displacement_mm: Range = (0.0, 6.0)

    def __post_init__(self) -> None:
        most = FOLDING_SHARE * self.control_point_mm
        check_range("displacement_mm", self.displacement_mm, least=0, most=most)


def build(
    settings: Settings, *, spatial_dims: int, spacing_mm: Sequence[float], patch: Sequence[int]
) -> ResamplingAugmentation:
    """Cubic B-splines over random control points (Rueckert et al., IEEE TMI 18, 1999)."""
    return _Elastic(settings, spacing_mm, patch)


class _Elastic(ResamplingAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        count, dims = shape[0], len(self.patch)
        points = [self._points(axis) for axis in range(dims)]
        unit = uniform(generator, (count, dims, *points), (-1, 1))
        amplitude = uniform(generator, (count,), self.settings.displacement_mm)
        return {"control_mm": unit * expand_to(amplitude, unit)}

    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        target = offsets(self.patch, before=image.shape[2:], device=image.device)
        displaced_mm = self.displacement_mm(draw)
        source = [
            target[axis] + displaced_mm[:, axis] / mm for axis, mm in enumerate(self.spacing_mm)
        ]
        return resample_pair(image, label, torch.stack(source, 1))

    def displacement_mm(self, draw: Draw) -> Tensor:
        """From each voxel after (B, D, *patch) to where its value comes from."""
        field = draw["control_mm"]
        for axis in range(len(self.patch)):
            field = torch.movedim(field, axis + 2, -1) @ self._basis(axis, field.device)
            field = torch.movedim(field, -1, axis + 2)
        return field

    def _points(self, axis: int) -> int:
        """Control points along an axis: two before the first voxel's interval, two after it."""
        length: float = (self.patch[axis] - 1) * self.spacing_mm[axis]
        return int(length / self.settings.control_point_mm) + 4

    def _basis(self, axis: int, device: torch.device) -> Tensor:
        """Weight (points, voxels) of each control point at each voxel."""
        step = self.spacing_mm[axis] / self.settings.control_point_mm
        voxels = torch.arange(self.patch[axis], device=device, dtype=torch.float32) * step
        points = torch.arange(self._points(axis), device=device, dtype=torch.float32) - 1
        away = (voxels[None] - points[:, None]).abs()
        near = 2 / 3 - away**2 + away**3 / 2
        return torch.where(away < 1, near, (2 - away).clamp(min=0) ** 3 / 6)
