"""Mirror images along some axes: where sides look alike, twice the cases."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from medseg.augmentation._ranges import Probability, expand_to, uniform
from medseg.augmentation.protocol import Augmentation, Draw


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
        Of each axis, apart from the others.
    mirror_axes : tuple of int
        Spatial axes of the patch. In a plan's own words: axes of the scan, and the plan's
        ``mirror_axes`` when they are left out.
    """

    probability: Probability = 0.5
    mirror_axes: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        axes = self.mirror_axes
        if len(set(axes)) < len(axes) or not set(axes) <= {0, 1, 2}:
            raise ValueError(f"mirror_axes must be different axes in 0..2, got {list(axes)}")


def build(
    settings: Settings, *, spatial_dims: int, spacing_mm: Sequence[float], patch: Sequence[int]
) -> Augmentation:
    """Each axis mirrored or not, by its own draw.

    Raises
    ------
    ValueError
        When there is no such axis.
    """
    if settings.mirror_axes and max(settings.mirror_axes) >= spatial_dims:
        raise ValueError(
            f"mirror_axes of {spatial_dims}-D patches must lie in 0..{spatial_dims - 1}, got"
            f" {list(settings.mirror_axes)}"
        )
    return _Mirror(settings)


class _Mirror(Augmentation):
    changes_labels = True

    def draw(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        draw = self.parameters(generator, shape)
        return {"applied": draw["mirrored"].any(1), **draw}

    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        chance = uniform(generator, (shape[0], len(self.settings.mirror_axes)), (0, 1))
        return {"mirrored": chance < self.settings.probability}

    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        for n, axis in enumerate(self.settings.mirror_axes):
            mirrored = draw["mirrored"][:, n]
            image = torch.where(expand_to(mirrored, image), image.flip(axis + 2), image)
            label = torch.where(expand_to(mirrored, label), label.flip(axis + 1), label)
        return image, label
