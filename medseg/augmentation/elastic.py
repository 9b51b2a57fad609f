"""A smooth bending of the patch: soft tissue is pressed and pulled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from medseg.augmentation._ranges import Probability, Range, check_range, expand_to, uniform
from medseg.augmentation.protocol import Draw, PatchAxes, ResamplingAugmentation

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


def build(settings: Settings, axes: PatchAxes) -> ResamplingAugmentation:
    """Cubic B-splines over random control points (Rueckert et al., IEEE TMI 18, 1999)."""
    return _Elastic(settings, axes)


class _Elastic(ResamplingAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        apart_mm = self.settings.control_point_mm
        lengths_mm = [(n - 1) * mm for n, mm in zip(shape[2:], self.axes.spacing_mm, strict=True)]
        points = [math.ceil(length / apart_mm) + 3 for length in lengths_mm]  # one beyond each end
        unit = uniform(generator, (shape[0], len(points), *points), (-1, 1))
        amplitude = uniform(generator, (shape[0],), self.settings.displacement_mm)
        return {"control_mm": unit * expand_to(amplitude, unit)}

    def source_mm(self, target_mm: Tensor, draw: Draw) -> Tensor:
        field, dims = draw["control_mm"], len(target_mm)
        for axis in range(dims):
            line_mm = target_mm[(axis, *(slice(None) if n == axis else 0 for n in range(dims)))]
            basis = self._basis(line_mm, points=field.shape[axis + 2])
            field = torch.movedim(torch.movedim(field, axis + 2, -1) @ basis, -1, axis + 2)
        return target_mm + field

    def _basis(self, line_mm: Tensor, *, points: int) -> Tensor:
        """Weight (points, voxels) of each control point at voxels on a line; the middles agree."""
        centres = torch.arange(points, device=line_mm.device) - (points - 1) / 2
        away = (line_mm[None] / self.settings.control_point_mm - centres[:, None]).abs()
        near = 2 / 3 - away**2 + away**3 / 2
        return torch.where(away < 1, near, (2 - away).clamp(min=0) ** 3 / 6)
