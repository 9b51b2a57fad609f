"""Which patch is seen at which step: a pure function of (seed, step, number in the batch).

Nothing is remembered between steps, so a resumed run sees exactly what an undisturbed one would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from medseg.planning import Plan
from medseg.training.cache import Prepared
from medseg.training.options import TrainingOptions


class Augment(Protocol):
    """Random changes of a patch."""

    region: tuple[int, int, int]

    def __call__(
        self, image_CIJK: Tensor, label_IJK: Tensor, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """A patch of the plan's size from one of `region`, the same for the same seed."""


def draw_batch(
    cases: Sequence[Prepared], plan: Plan, augment: Augment, *, options: TrainingOptions, step: int
) -> tuple[Tensor, Tensor]:
    """The batch of a step.

    Parameters
    ----------
    cases : sequence of Prepared
    plan : Plan
        Its patch and batch.
    augment : Augment
    options : TrainingOptions
        Its seed, and the share of patches that are centred on a label.
    step : int
        From 0.

    Returns
    -------
    image_BCIJK : torch.Tensor
        float32.
    labels_BIJK : torch.Tensor
        int64 class indices, or `medseg.losses.IGNORE`; what lies outside the scan is background.
    """
    images, labels = [], []
    share = options.foreground_share
    for number in range(plan.batch):
        rng = np.random.default_rng((options.seed, step, number))
        patches = step * plan.batch + number
        on_label = math.ceil((patches + 1) * share) > math.ceil(patches * share)
        case, voxels = _draw_case(cases, rng, on_label=on_label)
        centre = _centre(case, plan.patch, rng, voxels)
        image, label = _cut(case, centre, augment.region)
        image, label = augment(image, label, seed=int(rng.integers(2**31)))
        images.append(image)
        labels.append(label)
    return torch.stack(images), torch.stack(labels)


def _draw_case(
    cases: Sequence[Prepared], rng: np.random.Generator, *, on_label: bool
) -> tuple[Prepared, np.ndarray | None]:
    """A case, and voxels of it to centre a patch on; None for any place.

    The label is drawn before the case, from those that any case holds. So a label that one case in
    a hundred holds is seen as often as the others.
    """
    labels = len(cases[0].foreground_voxels) if on_label else 0
    for label in rng.permutation(labels):
        holders = [case for case in cases if len(case.foreground_voxels[label])]
        if holders:
            case = holders[int(rng.integers(len(holders)))]
            return case, case.foreground_voxels[label]
    return cases[int(rng.integers(len(cases)))], None


def _centre(
    case: Prepared, patch: tuple[int, ...], rng: np.random.Generator, voxels: np.ndarray | None
) -> np.ndarray:
    """Centre voxel of a patch: one of `voxels`, or anywhere, so that the patch fits."""
    size = np.asarray(case.labels.shape)
    half = np.asarray(patch) // 2
    wanted = rng.integers(0, size) if voxels is None else voxels[rng.integers(len(voxels))]
    low, high = half, size - (np.asarray(patch) - half)
    middle = size // 2
    fits = high >= low
    return np.where(fits, np.clip(wanted, low, np.maximum(high, low)), middle)


def _cut(case: Prepared, centre: np.ndarray, region: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Image and labels of `region` around `centre`, zero where the scan ends."""
    image = np.zeros((case.image.shape[0], *region), np.float32)
    labels = np.zeros(region, np.int64)
    source, target = [], []
    for middle, wide, size in zip(centre, region, case.labels.shape, strict=True):
        start = int(middle) - wide // 2
        low, high = max(start, 0), min(start + wide, size)
        source.append(slice(low, high))
        target.append(slice(low - start, high - start))
    inside, outside = tuple(source), tuple(target)
    image[(slice(None), *outside)] = case.image[(slice(None), *inside)]
    labels[outside] = case.labels[inside]
    return torch.from_numpy(image), torch.from_numpy(labels)
