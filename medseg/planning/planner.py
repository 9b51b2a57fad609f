"""The rules from a fingerprint to a plan.

They follow nnU-Net (Isensee et al., Nature Methods 18, 2021): median spacing, patch as large as
the budget allows in the shape of the median scan, axes halved while they are long and fine enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from msgspec import structs

from medseg.errors import PlanError
from medseg.planning.channel_rules import channel_names, normalisations
from medseg.planning.fingerprint import Fingerprint
from medseg.planning.plan import (
    Component,
    Plan,
    Plane,
    augmentation_preset,
    slice_axis,
)
from medseg.planning.presets import Preset
from medseg.planning.sides import side_doubt
from medseg.planning.stages import Axes, Stages
from medseg.volume.label_table import LabelTable

SMALLEST_EDGE = 4
"""Voxels an axis keeps at the coarsest stage."""

MOST_PATCHES = 16
"""Of a step, however small they are."""

LEFT_RIGHT = 0
"""The axis of RAS voxels from left to right."""

Triple = tuple[int, int, int]


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training step may cost.

    Parameters
    ----------
    voxels : int
        Largest step; a patch has at most half of them, a picture a quarter.
    features, most_features : int
        Channels of the finest stage; they double with every stage up to `most_features`.
    filled : float
        Share of `voxels` that the patches of a step take, where they are not fewer than two.
    """

    voxels: int
    features: int
    most_features: int
    filled: float = 1.0

    def wider(self, width: float) -> Budget:
        """The same budget with so many times the channels, one at least."""
        features, most = (max(1, round(n * width)) for n in (self.features, self.most_features))
        return structs.replace(self, features=features, most_features=most)


CPU_BUDGET = Budget(voxels=360_000, features=16, most_features=128, filled=0.5)
"""Narrow, and half a step: in few minutes more steps teach more (docs/decisions/0008)."""

GPU_BUDGET = Budget(voxels=4_200_000, features=32, most_features=320)


def make_plan(
    fingerprint: Fingerprint,
    *,
    budget: Budget,
    network: Callable[[Stages], Component],
    labels: LabelTable | None = None,
    plane: Plane | None = None,
    augmentation: Preset = "standard",
) -> Plan:
    """Choose spacing, normalisation, patch, batch and network stages.

    Parameters
    ----------
    fingerprint : Fingerprint
    budget : Budget
        What a step may cost.
    network : callable
        What an architecture makes of the stages; see :func:`medseg.networks.suggestion`.
    labels : LabelTable, optional
        What will be learnt: where left and right may be told apart, patches are not mirrored so;
        see :func:`medseg.planning.sides.side_doubt`.
    plane : {"axial", "coronal", "sagittal"}, optional
        Train a 2-D network on the slices of this plane. Pictures need no word: they are flat.
    augmentation : {"none", "light", "standard", "strong"}, default "standard"

    Raises
    ------
    PlanError
        When slices of `plane` are one voxel wide.
    """
    spacing = _target_spacing(fingerprint)
    scan_mm = _median_mm(fingerprint)
    shape = _voxels(scan_mm, spacing)
    plane = plane or _flat_plane(fingerprint)
    axes = _network_axes(shape, plane)
    divisor = 2 if plane is None else 4
    stages = _fit_stages(
        [shape[axis] for axis in axes], [spacing[axis] for axis in axes], budget, divisor=divisor
    )
    patch = [1, 1, 1]
    for axis, voxels in zip(axes, stages.patch, strict=True):
        patch[axis] = voxels
    doubt = side_doubt(labels) if labels else ""
    return Plan(
        spacing_mm=spacing,
        channels=channel_names(fingerprint),
        normalisation=normalisations(fingerprint),
        crop="padding",
        scan_mm=scan_mm,
        patch=(patch[0], patch[1], patch[2]),
        batch=_batch(budget, stages),
        network=network(stages),
        mirror_axes=tuple(axis for axis in axes if not (doubt and axis == LEFT_RIGHT)),
        side_doubt=doubt,
        augmentation=augmentation_preset(augmentation, modality=fingerprint.modality),
        plane=plane,
    )


def _batch(budget: Budget, stages: Stages) -> int:
    """Patches of a step: as many as the budget has room for, from 2 to 16."""
    patches = round(budget.filled * budget.voxels / math.prod(stages.patch))
    return min(max(patches, 2), MOST_PATCHES)


def _flat_plane(fingerprint: Fingerprint) -> Plane | None:
    """The plane in which every case lies as a single slice, as pictures do."""
    thin = np.asarray(fingerprint.shapes).max(axis=0) == 1
    if thin.sum() != 1:
        return None
    planes: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
    return planes[int(np.argmax(thin))]


def _network_axes(shape: Triple, plane: Plane | None) -> tuple[int, ...]:
    """Axes of RAS voxels that the network convolves along."""
    if plane is None:
        return (0, 1, 2)
    axes = tuple(axis for axis in range(3) if axis != slice_axis(plane))
    if min(shape[axis] for axis in axes) < 2:
        raise PlanError(
            f"{plane} slices of these scans are one voxel wide ({shape} voxels); choose another"
            " plane"
        )
    return axes


def _target_spacing(fingerprint: Fingerprint) -> tuple[float, float, float]:
    """Median spacing; a coarse axis more than 3 times the others takes its 10th percentile."""
    spacings = np.asarray(fingerprint.spacings_mm)
    target = np.median(spacings, axis=0)
    worst = int(np.argmax(target))
    others = np.delete(target, worst)
    if target[worst] > 3 * others.max():
        target[worst] = max(np.percentile(spacings[:, worst], 10), others.max())
    i, j, k = (round(float(mm), 6) for mm in target)
    return i, j, k


def _median_mm(fingerprint: Fingerprint) -> tuple[float, float, float]:
    """Median lengths of the scans, to a micrometre."""
    extents = np.asarray(fingerprint.shapes) * np.asarray(fingerprint.spacings_mm)
    i, j, k = (round(float(mm), 3) for mm in np.median(extents, axis=0))
    return i, j, k


def _voxels(lengths_mm: tuple[float, ...], spacing_mm: tuple[float, ...]) -> Triple:
    """Voxel counts of such lengths after resampling to `spacing_mm`."""
    i, j, k = (max(round(mm / step), 1) for mm, step in zip(lengths_mm, spacing_mm, strict=True))
    return i, j, k


def _fit_stages(
    shape: Sequence[int], spacing_mm: Sequence[float], budget: Budget, *, divisor: int
) -> Stages:
    """Stages of the largest patch within 1 / `divisor` of the budget; long axes are cut."""
    size = list(shape)
    while True:
        strides, kernels = _halvings(size, spacing_mm)
        multiple = np.prod(strides, axis=0)
        patch = [math.ceil(n / m) * int(m) for n, m in zip(size, multiple, strict=True)]
        if math.prod(patch) <= budget.voxels // divisor or max(size) <= SMALLEST_EDGE:
            break
        lengths = [
            n * mm if n > SMALLEST_EDGE else 0.0 for n, mm in zip(size, spacing_mm, strict=True)
        ]
        widest = int(np.argmax(lengths))
        smaller = min(patch[widest] - int(multiple[widest]), size[widest] - 1)
        size[widest] = max(smaller, SMALLEST_EDGE)
    max_features = budget.most_features * (1 if len(size) == 3 else 2)
    features = tuple(min(budget.features * 2**stage, max_features) for stage in range(len(strides)))
    return Stages(
        patch=tuple(patch), features=features, strides=tuple(strides), kernels=tuple(kernels)
    )


def _halvings(patch: Sequence[int], spacing_mm: Sequence[float]) -> tuple[list[Axes], list[Axes]]:
    """Strides and kernels: halve every axis that is long enough and not yet too coarse."""
    size, spacing = np.array(patch, float), np.array(spacing_mm, float)
    strides: list[Axes] = [(1,) * len(patch)]
    kernels = [_kernel(spacing)]
    while len(strides) < 6:
        long = size >= 2 * SMALLEST_EDGE
        if not long.any():
            break
        step = np.where(long & (spacing < 2 * spacing[long].min()), 2, 1)
        size, spacing = np.ceil(size / step), spacing * step
        strides.append(tuple(step.tolist()))
        kernels.append(_kernel(spacing))
    return strides, kernels


def _kernel(spacing: np.ndarray) -> Axes:
    """3 along fine axes, 1 along an axis still twice as coarse as the finest."""
    return tuple(3 if mm < 2 * spacing.min() else 1 for mm in spacing)
