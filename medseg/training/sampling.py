"""Which patch is seen at which step: a pure function of (seed, step, number in the batch).

Nothing is remembered between steps, so a resumed run sees exactly what an undisturbed one would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from medseg.planning import Plan
from medseg.training.cache import Prepared


class Augment(Protocol):
    """Random changes of a patch."""

    region: tuple[int, int, int]

    def __call__(
        self, image_CIJK: Tensor, label_IJK: Tensor, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """A patch of the plan's size from one of `region`, the same for the same seed."""


FOREGROUND_SHARE = 0.5
"""Share of a batch whose patches are centred on a labelled voxel."""


def draw_batch(
    cases: Sequence[Prepared], plan: Plan, *, augment: Augment, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """The batch of a step.

    Returns
    -------
    image_BCIJK : torch.Tensor
        float32.
    labels_BIJK : torch.Tensor
        int64 class indices, or `medseg.losses.IGNORE`; what lies outside the scan is background.
    """
    images, labels = [], []
    for number in range(plan.batch):
        rng = np.random.default_rng((seed, step, number))
        case = cases[int(rng.integers(len(cases)))]
        wants_foreground = number < round(FOREGROUND_SHARE * plan.batch)
        centre = _centre(case, plan.patch, rng, foreground=wants_foreground)
        image, label = _cut(case, centre, augment.region)
        image, label = augment(image, label, seed=int(rng.integers(2**31)))
        images.append(image)
        labels.append(label)
    return torch.stack(images), torch.stack(labels)


def _centre(
    case: Prepared, patch: tuple[int, ...], rng: np.random.Generator, *, foreground: bool
) -> np.ndarray:
    """Centre voxel of a patch: on a random label's voxel, or anywhere the patch fits."""
    size = np.asarray(case.labels.shape)
    half = np.asarray(patch) // 2
    present = [voxels for voxels in case.foreground_voxels if len(voxels)]
    if foreground and present:
        voxels = present[rng.integers(len(present))]
        wanted = voxels[rng.integers(len(voxels))]
    else:
        wanted = rng.integers(0, size)
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
