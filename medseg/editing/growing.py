"""Grow a label from what is drawn of it, through voxels of like intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.editing.edit import (
    UNLOCKED,
    Edit,
    Labels,
    Mask,
    Rules,
    Three,
    box_of,
    empty_edit,
    relabelled,
    voxels_within,
    widened,
)
from medseg.errors import InputError


@dataclass(frozen=True)
class Growth:
    """How far a label may grow.

    Parameters
    ----------
    low, high : float
        Intensities that belong to it, both ends included.
    radius_mm : float
        Farthest from the drawn voxels.
    """

    low: float
    high: float
    radius_mm: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise InputError(
                f"the range {self.low:g} to {self.high:g} holds nothing; swap its ends"
            )
        if not 0 < self.radius_mm < np.inf:
            raise InputError(f"growing needs a radius above 0 mm, got {self.radius_mm:g}")


def intensity_range(
    values: Labels, value: int, image: npt.NDArray[Any], *, percent: float = 96.0
) -> tuple[float, float]:
    """The intensities that most of a label's voxels have.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    value : int
    image : ndarray, shape (I, J, K)
    percent : float, default 96
        The share of the voxels within the range.

    Raises
    ------
    InputError
        When no voxel has the label.
    """
    box = box_of(values, value)
    if box is None:
        raise InputError(f"label {value} has no voxel yet; paint some of it first")
    inside = image[box][values[box] == value]
    tail = (100 - percent) / 2
    low, high = np.percentile(inside, (tail, 100 - tail))
    return float(low), float(high)


def grow(
    values: Labels,
    value: int,
    image: npt.NDArray[Any],
    *,
    growth: Growth,
    spacing_mm: Three,
    rules: Rules = UNLOCKED,
) -> Edit:
    """Add to a label the voxels in a range that are connected to it and near enough.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
        Label values; the voxels of `value` are the seeds, and stay.
    value : int
    image : ndarray, shape (I, J, K)
    growth : Growth
    spacing_mm : tuple of float
        Of the three axes.
    rules : Rules
        Which voxels may be taken; the label does not grow through others.

    Raises
    ------
    LabelError
        When the label is locked.
    """
    rules.check_unlocked([value])
    label_box = box_of(values, value)
    if label_box is None:
        return empty_edit(values)
    box = widened(label_box, values.shape, voxels_within(growth.radius_mm, spacing_mm))
    part, intensities = values[box], image[box]
    seeds = part == value
    candidates = (intensities >= growth.low) & (intensities <= growth.high) & rules.free(part)
    candidates &= _within(seeds, growth.radius_mm, spacing_mm)
    return relabelled(values, box, _touched(candidates | seeds, seeds), value=value, rules=rules)


def _within(seeds: Mask, radius_mm: float, spacing_mm: Three) -> Mask:
    """Voxels whose centres lie within a radius of a seed's."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(seeds.astype(np.uint8))
    image.SetSpacing(spacing_mm[::-1])
    distances = SimpleITK.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=True, useImageSpacing=True
    )
    near: Mask = SimpleITK.GetArrayFromImage(distances) <= radius_mm**2 * (1 + 1e-5)
    return near


def _touched(mask: Mask, seeds: Mask) -> Mask:
    """The pieces of a mask, connected by faces, that hold a seed."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    numbers = SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image, False))
    seeded = np.zeros(int(numbers.max()) + 1, np.bool_)
    seeded[numbers[seeds]] = True
    seeded[0] = False
    touched: Mask = seeded[numbers]
    return touched
