"""Rotation, scaling, shear and translation: patients lie and are built differently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from medseg.augmentation._geometry import PLANES, before_move, rotation
from medseg.augmentation._ranges import Probability, Range, check_range, uniform
from medseg.augmentation.protocol import Draw, PatchAxes, ResamplingAugmentation

UNLIKE_SPACING = 1.5
"""Two axes whose spacings differ by this factor are hardly rotated into each other."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    rotation_degrees : float
        Largest angle about each axis, either way.
    coarse_rotation_degrees : float
        Largest angle where the rotation would mix axes of unlike spacing (1.5 times and more).
    scale : tuple of float
        Factor of size, drawn for each axis.
    shear : float
        Largest millimetres of shift along one axis for each along another.
    translation_mm : float
        Largest shift along each axis.
    """

    probability: Probability = 0.5
    rotation_degrees: Annotated[float, Meta(ge=0, le=180)] = 20.0
    coarse_rotation_degrees: Annotated[float, Meta(ge=0, le=180)] = 5.0
    scale: Range = (0.85, 1.15)
    shear: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    translation_mm: Annotated[float, Meta(ge=0, le=1000)] = 0.0

    def __post_init__(self) -> None:
        check_range("scale", self.scale, least=0.1, most=10)


def build(settings: Settings, axes: PatchAxes) -> ResamplingAugmentation:
    """A linear map about the patch's centre, one interpolation for all of it."""
    return _Affine(settings, axes)


class _Affine(ResamplingAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        settings, dims, limits = self.settings, len(shape) - 2, self._largest_angles()
        count, pairs = shape[0], len(limits)
        unit = uniform(generator, (count, pairs), (-1, 1))
        return {
            "angles": torch.stack([unit[:, n] * limit for n, limit in enumerate(limits)], 1),
            "scale": uniform(generator, (count, dims), settings.scale),
            "shear": uniform(generator, (count, pairs), (-settings.shear, settings.shear)),
            "translation_mm": settings.translation_mm * uniform(generator, (count, dims), (-1, 1)),
        }

    def source_mm(self, target_mm: Tensor, draw: Draw) -> Tensor:
        return before_move(
            target_mm, backward=self.backward(draw), translation_mm=draw["translation_mm"]
        )

    def backward(self, draw: Draw) -> Tensor:
        """Linear map (B, D, D) from after to before: unrotated, unscaled, sheared."""
        count, dims = draw["scale"].shape
        shear = torch.eye(dims, device=draw["shear"].device).repeat(count, 1, 1)
        above = [(row, column) for row in range(dims) for column in range(row + 1, dims)]
        for n, (row, column) in enumerate(above):
            shear[:, row, column] = draw["shear"][:, n]
        return shear @ (rotation(draw["angles"]) / draw["scale"][:, None]).mT

    def _largest_angles(self) -> list[float]:
        """Radians about each axis, or in the one plane of two axes."""
        spacing_mm, most = self.axes.spacing_mm, self.settings.rotation_degrees
        limits = []
        for plane in PLANES if len(spacing_mm) == 3 else ((0, 1),):
            pair = [spacing_mm[axis] for axis in plane]
            alike = max(pair) < UNLIKE_SPACING * min(pair)
            limits.append(most if alike else min(most, self.settings.coarse_rotation_degrees))
        return [math.radians(degrees) for degrees in limits]
