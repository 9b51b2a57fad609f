"""The rules from a fingerprint to a plan.

They follow nnU-Net (Isensee et al., Nature Methods 18, 2021): median spacing, patch as large as
the budget allows in the shape of the median scan, axes halved while they are long and fine enough.
"""

from __future__ import annotations

import math
import re

import msgspec
import numpy as np

from medseg.planning.fingerprint import Fingerprint, Intensities
from medseg.planning.plan import Choice, Normalisation, Plan
from medseg.volume.label_table import LabelTable

SMALLEST_EDGE = 4
"""Voxels an axis keeps at the coarsest stage."""

Triple = tuple[int, int, int]


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training step may cost.

    Parameters
    ----------
    voxels : int
        Voxels of all patches of a step.
    features, most_features : int
        Channels of the finest stage; they double with every stage up to `most_features`.
    """

    voxels: int
    features: int
    most_features: int


CPU_BUDGET = Budget(voxels=360_000, features=32, most_features=128)
GPU_BUDGET = Budget(voxels=4_200_000, features=32, most_features=320)


def make_plan(
    fingerprint: Fingerprint,
    *,
    budget: Budget,
    network: str = "unet",
    labels: LabelTable | None = None,
) -> Plan:
    """Choose spacing, normalisation, patch, batch and network stages.

    Parameters
    ----------
    fingerprint : Fingerprint
        Of the training cases.
    budget : Budget
        What a step may cost.
    network : str
        Name in ``medseg.networks``.
    labels : LabelTable, optional
        What will be learnt: where left and right are told apart, patches are not mirrored so.

    Returns
    -------
    Plan
    """
    spacing = _target_spacing(fingerprint)
    median_shape = _median_shape(fingerprint, spacing)
    patch, strides, kernels = _fit_patch(median_shape, spacing, budget.voxels // 2)
    batch = max(2, round(budget.voxels / math.prod(patch)))
    features = [
        min(budget.features * 2**stage, budget.most_features) for stage in range(len(strides))
    ]
    return Plan(
        spacing_mm=spacing,
        channels=_channel_names(fingerprint),
        normalisation=tuple(
            _normalisation(fingerprint.modality, channel) for channel in fingerprint.intensities
        ),
        patch=patch,
        batch=min(batch, 16),
        network=Choice(
            name=network,
            settings={"features": features, "strides": strides, "kernels": kernels},
        ),
        mirror_axes=(1, 2) if labels is not None and _has_sides(labels) else (0, 1, 2),
    )


def _has_sides(labels: LabelTable) -> bool:
    """Whether a label's name says left or right, as a word or as a lone L or R."""
    words = {word for name in labels.names for word in re.split(r"[^a-z]+", name.lower())}
    return not words.isdisjoint({"left", "right", "l", "r", "lt", "rt"})


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


def _median_shape(fingerprint: Fingerprint, spacing_mm: tuple[float, ...]) -> Triple:
    """Median voxel counts after resampling to `spacing_mm`."""
    extents = np.asarray(fingerprint.shapes) * np.asarray(fingerprint.spacings_mm)
    i, j, k = np.maximum(np.rint(np.median(extents / np.asarray(spacing_mm), axis=0)), 1)
    return int(i), int(j), int(k)


def _fit_patch(
    median_shape: Triple, spacing_mm: tuple[float, ...], most_voxels: int
) -> tuple[Triple, list[Triple], list[Triple]]:
    """Largest patch in the budget, cut first along the axis longest in mm, with its stages."""
    patch = list(median_shape)
    while True:
        strides, kernels = _stages(patch, spacing_mm)
        multiple = np.prod(strides, axis=0)
        i, j, k = (math.ceil(n / m) * int(m) for n, m in zip(patch, multiple, strict=True))
        if i * j * k <= most_voxels or max(patch) <= SMALLEST_EDGE:
            return (i, j, k), strides, kernels
        widest = int(np.argmax([n * mm for n, mm in zip((i, j, k), spacing_mm, strict=True)]))
        patch[widest] = max((i, j, k)[widest] - int(multiple[widest]), SMALLEST_EDGE)


def _stages(patch: list[int], spacing_mm: tuple[float, ...]) -> tuple[list[Triple], list[Triple]]:
    """Strides and kernels: halve every axis that is long enough and not yet too coarse."""
    size, spacing = np.array(patch, float), np.array(spacing_mm, float)
    strides: list[Triple] = [(1, 1, 1)]
    kernels = [_kernel(spacing)]
    while len(strides) < 6:
        long = size >= 2 * SMALLEST_EDGE
        if not long.any():
            break
        step = np.where(long & (spacing < 2 * spacing[long].min()), 2, 1)
        size, spacing = np.ceil(size / step), spacing * step
        strides.append((int(step[0]), int(step[1]), int(step[2])))
        kernels.append(_kernel(spacing))
    return strides, kernels


def _kernel(spacing: np.ndarray) -> Triple:
    """3 along fine axes, 1 along an axis still twice as coarse as the finest."""
    i, j, k = (3 if mm < 2 * spacing.min() else 1 for mm in spacing)
    return i, j, k


def _normalisation(modality: str, channel: Intensities) -> Normalisation:
    """CT has absolute units, so the dataset's statistics hold; everything else by its own."""
    if modality != "CT":
        return Normalisation(scheme="zscore")
    return Normalisation(
        scheme="clip_zscore",
        low=channel.low,
        high=channel.high,
        mean=channel.mean,
        std=max(channel.std, 1e-6),
    )


def _channel_names(fingerprint: Fingerprint) -> tuple[str, ...]:
    word = fingerprint.modality or "image"
    count = len(fingerprint.intensities)
    return (word,) if count == 1 else tuple(f"{word} {n + 1}" for n in range(count))
