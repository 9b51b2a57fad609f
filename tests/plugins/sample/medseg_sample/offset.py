"""Sample offset: one number added to all intensities of a patch."""

from __future__ import annotations

from typing import Annotated

import msgspec
import torch

from medseg.augmentation.protocol import IntensityAugmentation


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose."""

    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    largest: Annotated[float, msgspec.Meta(gt=0)] = 0.1


def build(settings, axes):
    """The part with these settings."""
    return _Offset(settings, axes)


class _Offset(IntensityAugmentation):
    def parameters(self, generator, shape):
        chance = torch.rand(shape[0], generator=generator, device=generator.device)
        return {"offset": (2 * chance - 1) * self.settings.largest}

    def change_image(self, image, draw):
        return image + draw["offset"].view(-1, *(1,) * (image.ndim - 1))
