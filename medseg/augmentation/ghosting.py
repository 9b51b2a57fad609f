"""Faint copies along one axis: breathing or flow repeats itself while an MR scan is taken."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from medseg.augmentation._ranges import (
    Probability,
    Range,
    check_range,
    expand_to,
    integers,
    spatial_axes,
    uniform,
)
from medseg.augmentation.protocol import Draw, IntensityAugmentation, PatchAxes


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose.

    Parameters
    ----------
    probability : float
    ghosts : tuple of int
        How many images the patch holds in a row, itself among them: they lie its length divided by
        this apart.
    intensity : tuple of float
        Share that is taken from every `ghosts`-th line of k-space; a copy has this divided by
        `ghosts` of the image's intensity.
    """

    probability: Probability = 0.1
    ghosts: tuple[int, int] = (2, 6)
    intensity: Range = (0.2, 0.8)

    def __post_init__(self) -> None:
        check_range("ghosts", self.ghosts, least=2, most=1000)
        check_range("intensity", self.intensity, least=0, most=1)


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """Weaker lines of k-space at even distances along a drawn axis, as TorchIO's `RandomGhosting`.

    The central line, the mean along the axis, is left as it is.
    """
    return _Ghosting(settings, axes)


class _Ghosting(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        count = (shape[0],)
        return {
            "axis": integers(generator, count, (2, len(shape) - 1)),
            "ghosts": integers(generator, count, self.settings.ghosts),
            "intensity": uniform(generator, count, self.settings.intensity),
        }

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        changed = image
        for axis in spatial_axes(image):
            spectrum = torch.fft.rfft(image, dim=axis)
            lines = torch.arange(spectrum.shape[axis], device=image.device)
            weaker = (lines % draw["ghosts"][:, None] == 0) & (lines > 0)
            share = 1 - draw["intensity"][:, None] * weaker
            weakened = spectrum * expand_to(share, image).movedim(1, axis)
            ghosted = torch.fft.irfft(weakened, n=image.shape[axis], dim=axis)
            changed = torch.where(expand_to(draw["axis"] == axis, image), ghosted, changed)
        return changed
