"""Smears and edges beside edges: the patient moves while an MR scan is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from medseg.augmentation._geometry import before_move, grid_of, positions_mm, rotation, sample
from medseg.augmentation._ranges import (
    Probability,
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
    movements : int
        How often the patient moves.
    rotation_degrees, translation_mm : float
        Largest of each movement, about and along each axis.
    """

    probability: Probability = 0.1
    movements: Annotated[int, Meta(ge=1, le=16)] = 2
    rotation_degrees: Annotated[float, Meta(ge=0, le=45)] = 4.0
    translation_mm: Annotated[float, Meta(ge=0, le=1000)] = 3.0


def build(settings: Settings, axes: PatchAxes) -> IntensityAugmentation:
    """Lines of k-space taken from moved images (Shaw et al., MIDL 2019; TorchIO's `RandomMotion`).

    Lines run from one end of k-space to the other along a drawn axis. The central line is always
    that of the image that did not move, so labels stay right. The real part is taken where an MR
    scanner would take the magnitude: normalised intensities have a sign.
    """
    return _Motion(settings, axes)


class _Motion(IntensityAugmentation):
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        settings, dims = self.settings, len(shape) - 2
        size, largest = (shape[0], settings.movements), math.radians(settings.rotation_degrees)
        shift = uniform(generator, (*size, dims), (-1, 1))
        return {
            "axis": integers(generator, (shape[0],), (2, len(shape) - 1)),
            "time": uniform(generator, size, (0, 1)),
            "angles": uniform(generator, (*size, dims * (dims - 1) // 2), (-largest, largest)),
            "translation_mm": settings.translation_mm * shift,
        }

    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        moved = [self._moved(image, draw, n) for n in range(self.settings.movements)]
        changed = image
        for axis in spatial_axes(image):
            spectrum = torch.fft.fft(image, dim=axis)
            lines = torch.fft.fftfreq(image.shape[axis], device=image.device) + 0.5
            for n, other in enumerate(moved):
                time = draw["time"][:, n, None]
                replaced = torch.where(time < 0.5, lines < time, lines > time)
                replaced = expand_to(replaced, image).movedim(1, axis)
                spectrum = torch.where(replaced, torch.fft.fft(other, dim=axis), spectrum)
            smeared = torch.fft.ifft(spectrum, dim=axis).real
            changed = torch.where(expand_to(draw["axis"] == axis, image), smeared, changed)
        return changed

    def _moved(self, image: Tensor, draw: Draw, n: int) -> Tensor:
        """The image after one movement."""
        spacing_mm = self.axes.spacing_mm
        source_mm = before_move(
            positions_mm(image.shape[2:], spacing_mm, image.device),
            backward=rotation(draw["angles"][:, n]).mT,
            translation_mm=draw["translation_mm"][:, n],
        )
        grid = grid_of(source_mm, image.shape[2:], spacing_mm)
        return sample(image, grid, mode="bilinear", padding="border")
