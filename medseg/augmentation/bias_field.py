"""Brightness that drifts over the image: the receive coil of an MR scanner hears unevenly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from medseg.augmentation._ranges import (
    Probability,
    Range,
    check_range,
    expand_to,
    spatial_axes,
    uniform,
)
from medseg.augmentation.protocol import Draw, IntensityAugmentation, PatchAxes


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    order : int
        Highest order of the polynomial.
    coefficient : tuple of float
        Of each term; the field is the exponential of their sum.
    """

    probability: Probability = 0.1
    order: Annotated[int, Meta(ge=1, le=8)] = 3
    coefficient: Range = (-0.2, 0.2)

    def __post_init__(self) -> None:
        check_range("coefficient", self.coefficient, least=-5, most=5)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """Exponential of Legendre polynomials, as MONAI's `RandBiasFieldd`, without the constant term.

    It multiplies the distance from the darkest voxel: a normalised image has negative intensities,
    and a coil does not change a sign (Van Leemput et al., IEEE TMI 18, 1999).
    """
    return _BiasField(settings, axes)


class _BiasField(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        terms, dims = self.settings.order + 1, len(shape) - 2
        every = uniform(generator, (shape[0], *(terms,) * dims), self.settings.coefficient)
        orders = torch.arange(terms, device=generator.device)
        total = torch.stack(torch.meshgrid(*(orders,) * dims, indexing="ij")).sum(0)
        return {"coefficients": every * ((total > 0) & (total <= self.settings.order))}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        field = draw["coefficients"][:, None]
        for axis in spatial_axes(image):
            terms = _legendre(image.shape[axis], self.settings.order, image.device)
            field = torch.movedim(torch.movedim(field, axis, -1) @ terms, -1, axis)
        low = image.amin(spatial_axes(image), keepdim=True)
        return low + (image - low) * torch.exp(expand_to(field, image))


def _legendre(size: int, order: int, device: torch.device) -> Tensor:
    """Legendre polynomials (order + 1, size) from -1 at the first voxel to 1 at the last."""
    x = torch.linspace(-1, 1, size, device=device)
    rows = [torch.ones_like(x), x]
    for n in range(1, order):
        rows.append(((2 * n + 1) * x * rows[n] - n * rows[n - 1]) / (n + 1))
    return torch.stack(rows)
