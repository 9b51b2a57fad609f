"""Rotation, scaling, shear and translation: patients lie and are built differently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from medseg.augmentation._geometry import (
    PLANES,
    offsets,
    resample_pair,
    rotation,
    source_offsets,
)
from medseg.augmentation._ranges import Probability, Range, check_range, uniform
from medseg.augmentation.protocol import Draw, ResamplingAugmentation

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


def build(
    settings: Settings, *, spatial_dims: int, spacing_mm: Sequence[float], patch: Sequence[int]
) -> ResamplingAugmentation:
    """A linear map about the patch's centre, one interpolation for all of it."""
    return _Affine(settings, spacing_mm, patch)


class _Affine(ResamplingAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        settings, dims = self.settings, len(self.patch)
        count, pairs = shape[0], dims * (dims - 1) // 2
        limits = [math.radians(degrees) for degrees in self._limits_degrees()]
        unit = uniform(generator, (count, pairs), (-1, 1))
        return {
            "angles": torch.stack([unit[:, n] * limit for n, limit in enumerate(limits)], 1),
            "scale": uniform(generator, (count, dims), settings.scale),
            "shear": uniform(generator, (count, pairs), (-settings.shear, settings.shear)),
            "translation_mm": settings.translation_mm * uniform(generator, (count, dims), (-1, 1)),
        }

    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        source = source_offsets(
            offsets(self.patch, before=image.shape[2:], device=image.device),
            backward_mm=self.backward_mm(draw),
            translation_mm=draw["translation_mm"],
            spacing_mm=self.spacing_mm,
        )
        return resample_pair(image, label, source)

    def backward_mm(self, draw: Draw) -> Tensor:
        """Linear map (B, D, D) from mm after to mm before: unrotated, unscaled, sheared."""
        dims = len(self.patch)
        shear = torch.eye(dims, device=draw["shear"].device).repeat(len(draw["shear"]), 1, 1)
        above = [(row, column) for row in range(dims) for column in range(row + 1, dims)]
        for n, (row, column) in enumerate(above):
            shear[:, row, column] = draw["shear"][:, n]
        return shear @ (rotation(draw["angles"]) / draw["scale"][:, None]).mT

    def _limits_degrees(self) -> list[float]:
        """Largest angle about each axis, or in the one plane of two axes."""
        planes = PLANES if len(self.spacing_mm) == 3 else ((0, 1),)
        limits = []
        for plane in planes:
            pair = [self.spacing_mm[axis] for axis in plane]
            alike = max(pair) < UNLIKE_SPACING * min(pair)
            settings = self.settings
            limits.append(
                settings.rotation_degrees
                if alike
                else min(settings.rotation_degrees, settings.coarse_rotation_degrees)
            )
        return limits
