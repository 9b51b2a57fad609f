"""Which patch is seen at which step: a pure function of (seed, step, number in the batch).

Nothing is remembered between steps, so a resumed run sees exactly what an undisturbed one would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.planning import Plan
from medseg.training.cache import Prepared
from medseg.training.options import TrainingOptions


class Crop(NamedTuple):
    """Where a patch is cut, and the seed of what is random about it.

    Parameters
    ----------
    case : int
        Number of the case.
    centre : tuple of int
        Voxel of the case.
    seed : int
    """

    case: int
    centre: tuple[int, ...]
    seed: int


class PatchSampler:
    """Draws the places of patches.

    Parameters
    ----------
    cases : sequence of Prepared
    plan : Plan
        Its patch and batch.
    options : TrainingOptions
        Its seed, and the share of patches that are centred on a label.
    """

    def __init__(self, cases: Sequence[Prepared], plan: Plan, options: TrainingOptions) -> None:
        self.cases, self.plan, self.options = cases, plan, options
        labels = len(cases[0].foreground_voxels)
        self.holders = [
            [n for n, case in enumerate(cases) if len(case.foreground_voxels[label])]
            for label in range(labels)
        ]

    def crops(self, step: int, numbers: slice = slice(None)) -> list[Crop]:
        """Places of a step's patches.

        Parameters
        ----------
        step : int
            From 0.
        numbers : slice, optional
            Which patches of the batch.
        """
        return [self._crop(step, number) for number in range(self.plan.batch)[numbers]]

    def _crop(self, step: int, number: int) -> Crop:
        rng = np.random.default_rng((self.options.seed, step, number))
        share, patches = self.options.foreground_share, step * self.plan.batch + number
        on_label = math.ceil((patches + 1) * share) > math.ceil(patches * share)
        case, voxels = self._draw_case(rng, on_label=on_label)
        centre = _centre(self.cases[case].labels.shape, self.plan.patch, rng, voxels)
        return Crop(case, centre, int(rng.integers(2**31)))

    def _draw_case(
        self, rng: np.random.Generator, *, on_label: bool
    ) -> tuple[int, npt.NDArray[np.int32] | None]:
        """A case, and voxels of it to centre a patch on; None for any place.

        The label is drawn before the case, from those that any case holds. So a label that one case
        in a hundred holds is seen as often as the others.
        """
        for label in rng.permutation(len(self.holders) if on_label else 0):
            holders = self.holders[label]
            if holders:
                case = holders[int(rng.integers(len(holders)))]
                return case, self.cases[case].foreground_voxels[label]
        return int(rng.integers(len(self.cases))), None


def _centre(
    size: tuple[int, ...],
    patch: tuple[int, ...],
    rng: np.random.Generator,
    voxels: npt.NDArray[np.int32] | None,
) -> tuple[int, ...]:
    """Centre voxel of a patch: one of `voxels`, or anywhere, so that the patch fits."""
    half = np.asarray(patch) // 2
    wanted = rng.integers(0, size) if voxels is None else voxels[rng.integers(len(voxels))]
    low, high = half, np.asarray(size) - (np.asarray(patch) - half)
    middle = np.asarray(size) // 2
    inside = np.where(high >= low, np.clip(wanted, low, np.maximum(high, low)), middle)
    return tuple(inside.tolist())
