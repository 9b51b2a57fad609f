"""Boxes filled with the mean: the network must judge by what is around."""

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
    boxes : int
    edge_share : tuple of float
        Edge of a box as a share of the patch's, drawn for each axis.
    """

    probability: Probability = 0.1
    boxes: Annotated[int, Meta(ge=1, le=64)] = 1
    edge_share: Range = (0.1, 0.3)

    def __post_init__(self) -> None:
        check_range("edge_share", self.edge_share, least=0, most=1)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """Cutout (DeVries and Taylor, arXiv:1708.04552); labels inside the boxes stay."""
    return _Cutout(settings, axes)


class _Cutout(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        size = (shape[0], self.settings.boxes, len(shape) - 2)
        edge = uniform(generator, size, self.settings.edge_share)
        return {"edge": edge, "start": (1 - edge) * uniform(generator, size, (0, 1))}

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        mean = image.mean(spatial_axes(image), keepdim=True)
        changed = image
        for box in range(self.settings.boxes):
            inside = torch.ones_like(image[:, :1], dtype=torch.bool)
            for axis in spatial_axes(image):
                size = image.shape[axis]
                middle = (torch.arange(size, device=image.device) + 0.5) / size
                start, edge = (draw[name][:, box, axis - 2, None] for name in ("start", "edge"))
                within = (middle >= start) & (middle < start + edge)
                inside = inside & expand_to(within, image).movedim(1, axis)
            changed = torch.where(inside, mean, changed)
        return changed
