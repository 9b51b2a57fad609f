"""Mirror images along some axes: where sides look alike, twice the cases."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from medseg.augmentation._ranges import Probability, uniform
from medseg.augmentation.protocol import Augmentation, Draw, PatchAxes


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose; which axes, its ``mirror_axes`` say.

    Parameters
    ----------
    probability : float
        Of each axis, apart from the others.
    """

    probability: Probability = 0.5


def build(settings: Settings, axes: PatchAxes) -> Augmentation:
    """Each axis mirrored or not, by its own draw."""
    return _Mirror(settings, axes)


class _Mirror(Augmentation):
    asks_numbers = True

    def draw(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        draw = self.parameters(generator, shape)
        return {"applied": draw["mirrored"].any(1), **draw}

    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        chance = uniform(generator, (shape[0], len(self.axes.mirrored)), (0, 1))
        return {"mirrored": chance < self.settings.probability}

    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        images, labels = [], []
        for sample, own, mirrored in zip(image, label, draw["mirrored"].tolist(), strict=True):
            axes = [axis for axis, flip in zip(self.axes.mirrored, mirrored, strict=True) if flip]
            images.append(sample.flip([axis + 1 for axis in axes]))
            labels.append(own.flip(axes))
        return torch.stack(images), torch.stack(labels)
