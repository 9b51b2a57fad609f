"""A fully connected CRF: voxels that are near and look alike should have the same label.

Kraehenbuehl and Koltun, Efficient inference in fully connected CRFs with Gaussian edge potentials,
NIPS 2011, with Potts compatibility. Every pair of voxels i, j has the energy

    k(i, j) = appearance_weight exp(-|p_i - p_j|^2 / 2 appearance_mm^2
                                    -|x_i - x_j|^2 / 2 intensity^2)
            + smoothness_weight exp(-|p_i - p_j|^2 / 2 smoothness_mm^2)

when their labels differ; p are places in mm, x intensities. As in the authors' own program each of
the two kernels is divided by the square roots of its sums over all voxels at i and at j, so that
weights mean the same at every spacing and at the image's edge. A voxel sends no message to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, prod
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from medseg.postprocessing._permutohedral import Lattice
from medseg.postprocessing.protocol import ProbabilityStep, Three

WORKS_ON = "probabilities"
VOXELS_AT_ONCE = 4_000_000
"""Larger images are refined in slabs with a margin: bounds memory to about 1 GB."""
_MARGIN = 3.0  # standard deviations of the widest kernel
_NOTHING = 1e-12
_LEAST = 1e-8  # probability that the image may still overrule
_Positive = Annotated[float, Meta(gt=0)]
_Weight = Annotated[float, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a manifest may choose.

    Parameters
    ----------
    iterations : int
    appearance_weight : float
        Strength of the kernel over place and intensity; 0 leaves it out.
    appearance_mm : float
        Its standard deviation in space, in mm.
    intensity : float
        Its standard deviation in intensity, in the units of the network's input (standard
        deviations of the scan under the usual normalisation).
    smoothness_weight : float
        Strength of the kernel over place alone; 0 leaves it out.
    smoothness_mm : float
        Its standard deviation, in mm.
    """

    iterations: Annotated[int, Meta(ge=1, le=100)] = 5
    appearance_weight: _Weight = 2.0
    appearance_mm: _Positive = 4.0
    intensity: _Positive = 0.5
    smoothness_weight: _Weight = 1.0
    smoothness_mm: _Positive = 1.0


def build(settings: Settings) -> ProbabilityStep:
    """A step that does mean-field inference in the CRF, the given probabilities being its unary."""
    return MeanField(settings)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel without its diagonal, divided by the square roots of its sums at both voxels.

    Parameters
    ----------
    filter : callable
        ``filter(values_LIJK)``: sums over all voxels with the kernel's weights.
    scale : torch.Tensor, shape (I, J, K)
        One over the square root of the kernel's sum at each voxel.
    own : torch.Tensor, shape (I, J, K)
        What of its own value each voxel would get.
    """

    filter: Callable[[Tensor], Tensor]
    scale: Tensor
    own: Tensor

    @classmethod
    def of(cls, filter_LIJK: Callable[[Tensor], Tensor], ones_1IJK: Tensor, own: Tensor) -> Kernel:
        """The kernel of a filter that gives each voxel's own value the weight `own`."""
        sums_IJK = filter_LIJK(ones_1IJK)[0].clamp_min(1e-6)
        return cls(filter_LIJK, sums_IJK.rsqrt(), own / sums_IJK)

    def __call__(self, belief_LIJK: Tensor) -> Tensor:
        """The message to every voxel."""
        message_LIJK = self.filter(belief_LIJK * self.scale) * self.scale
        return message_LIJK.sub_(self.own * belief_LIJK).clamp_min_(0)


def appearance_kernel(image_CIJK: Tensor, spacing_mm: Three, settings: Settings) -> Kernel:
    """The kernel over place and intensity, on a permutohedral lattice."""
    shape = image_CIJK.shape[1:]
    lattice = Lattice.of(_features(image_CIJK, spacing_mm, settings))

    def filtered(values_LIJK: Tensor) -> Tensor:
        values_NL = values_LIJK.flatten(1).T.contiguous()
        return lattice.filter(values_NL).T.reshape(-1, *shape)

    ones_1IJK = torch.ones_like(image_CIJK[:1])
    return Kernel.of(filtered, ones_1IJK, lattice.own_share().reshape(shape))


@dataclass(frozen=True)
class MeanField:
    """Mean-field inference in the CRF.

    Parameters
    ----------
    settings : Settings
    appearance : callable
        How the kernel over place and intensity is made; another one for comparison.
    """

    settings: Settings
    appearance: Callable[[Tensor, Three, Settings], Kernel] = appearance_kernel

    @torch.no_grad()
    def __call__(
        self, probabilities_LIJK: Tensor, image_CIJK: Tensor, *, spacing_mm: Three
    ) -> Tensor:
        """Probabilities after the updates; see `protocol.ProbabilityStep`."""
        refined = torch.empty_like(probabilities_LIJK, dtype=torch.float32)
        image = image_CIJK.to(probabilities_LIJK.device, torch.float32)
        margin_mm = _MARGIN * max(self.settings.appearance_mm, self.settings.smoothness_mm)
        for around, inner, target in _slabs(image.shape[1:], spacing_mm, margin_mm):
            slab = probabilities_LIJK[around].float()
            refined[target] = self._mean_field(slab, image[around], spacing_mm)[inner]
        return refined

    def _mean_field(
        self, probabilities_LIJK: Tensor, image_CIJK: Tensor, spacing_mm: Three
    ) -> Tensor:
        """Algorithm 1 of the paper; Potts leaves the messages of a voxel's own label."""
        kernels = tuple(self._kernels(image_CIJK, spacing_mm))
        evidence_LIJK = probabilities_LIJK.clamp_min(_LEAST).log()
        belief_LIJK = probabilities_LIJK
        for _ in range(self.settings.iterations):
            logits_LIJK = evidence_LIJK.clone()
            for weight, kernel in kernels:
                logits_LIJK.add_(kernel(belief_LIJK), alpha=weight)
            belief_LIJK = torch.softmax(logits_LIJK, dim=0)
        return belief_LIJK

    def _kernels(self, image_CIJK: Tensor, spacing_mm: Three) -> Iterator[tuple[float, Kernel]]:
        """The kernels whose weight is not zero."""
        settings = self.settings
        if settings.appearance_weight:
            yield settings.appearance_weight, self.appearance(image_CIJK, spacing_mm, settings)
        if settings.smoothness_weight:
            yield (
                settings.smoothness_weight,
                _smoothness(image_CIJK[:1], spacing_mm, settings.smoothness_mm),
            )


def _features(image_CIJK: Tensor, spacing_mm: Three, settings: Settings) -> Tensor:
    """Place and intensity of each voxel in standard deviations; shape (N, d).

    An axis of one voxel is left out.
    """
    shape = image_CIJK.shape[1:]
    columns = []
    for axis, (size, step) in enumerate(zip(shape, spacing_mm, strict=True)):
        if size > 1:
            positions = torch.arange(size, device=image_CIJK.device) * (
                step / settings.appearance_mm
            )
            view = [-1 if other == axis else 1 for other in range(3)]
            columns.append((positions - positions.mean()).view(view).expand(shape).flatten())
    intensities = (image_CIJK - image_CIJK.mean((1, 2, 3), keepdim=True)) / settings.intensity
    columns.extend(intensities.flatten(1))
    return torch.stack(columns, dim=1)


def _smoothness(ones_like_1IJK: Tensor, spacing_mm: Three, deviation_mm: float) -> Kernel:
    """The kernel over place: exact, one axis after another."""
    profiles = {
        axis: _profile(size, spacing_mm[axis - 1] / deviation_mm, ones_like_1IJK)
        for axis, size in enumerate(ones_like_1IJK.shape)
        if axis and size > 1
    }

    def filtered(values_LIJK: Tensor) -> Tensor:
        for axis, profile in profiles.items():
            transposed = values_LIJK.transpose(axis, -1)
            summed = transposed.reshape(-1, transposed.shape[-1]) @ profile
            values_LIJK = summed.view(transposed.shape).transpose(axis, -1)
        return values_LIJK

    ones_1IJK = torch.ones_like(ones_like_1IJK)
    return Kernel.of(filtered, ones_1IJK, ones_1IJK.new_ones(()))


def _profile(size: int, step: float, like: Tensor) -> Tensor:
    """Gaussian weights (size, size) between the voxels of a line, `step` deviations apart."""
    position = torch.arange(size, device=like.device, dtype=like.dtype) * step
    weights = torch.exp(-0.5 * (position[:, None] - position[None]) ** 2)
    return weights.masked_fill(weights < _NOTHING, 0)  # smaller numbers make processors slow


def _slabs(
    shape: tuple[int, ...], spacing_mm: Three, margin_mm: float
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """Slabs across the longest axis: with margin, inside that, and inside the whole."""
    axis = max(range(3), key=lambda n: shape[n])
    thickness = max(1, VOXELS_AT_ONCE * shape[axis] // prod(shape))
    margin = ceil(margin_mm / spacing_mm[axis]) if thickness < shape[axis] else 0
    for start in range(0, shape[axis], thickness):
        stop = min(start + thickness, shape[axis])
        low, high = max(0, start - margin), min(shape[axis], stop + margin)
        inner = slice(start - low, stop - low)
        yield (
            _index_along(axis, slice(low, high)),
            _index_along(axis, inner),
            _index_along(axis, slice(start, stop)),
        )


def _index_along(axis: int, part: slice) -> tuple[slice, ...]:
    """The index (L or C, I, J, K) of a part of one axis."""
    index = [slice(None)] * 4
    index[axis + 1] = part
    return tuple(index)
