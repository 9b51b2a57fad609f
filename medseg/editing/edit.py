"""What an operation answers with, and which voxels it may touch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError
from medseg.volume.bounding_box import Box, bounding_box

Labels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Three = tuple[float, float, float]


@dataclass(frozen=True)
class Rules:
    """Which voxels an operation may give to its label.

    Parameters
    ----------
    over_labels : bool
        Whether voxels of other labels may be taken; otherwise background alone.
    locked : tuple of int
        Labels that neither lose nor gain a voxel, whatever else is allowed.
    """

    over_labels: bool = False
    locked: tuple[int, ...] = ()

    def free(self, part: Labels) -> Mask:
        """Voxels of an array that may be given to another label."""
        if not self.over_labels:
            return np.asarray(part == 0)
        return ~np.isin(part, self.locked)

    def check_unlocked(self, values: Iterable[int]) -> None:
        """Raise `LabelError` when one of `values` is locked."""
        locked = sorted(set(values) & set(self.locked))
        if locked:
            raise LabelError(f"label {locked[0]} is locked; unlock it to change it", code="LOCKED")


UNLOCKED = Rules()
"""Background may be taken, nothing is locked."""


@dataclass(frozen=True, eq=False)
class Edit:
    """The values that a box of a label array shall have.

    Parameters
    ----------
    where : tuple of slice
        The box, with a start and a stop for each axis.
    values : ndarray of int
        Of the shape of the box.
    """

    where: Box
    values: Labels

    def changed(self, before: Labels) -> int:
        """How many voxels of the array it would change."""
        return int(np.count_nonzero(before[self.where] != self.values))


def apply(values: Labels, edit: Edit) -> Labels:
    """A copy of `values` after `edit`."""
    after = values.copy()
    after[edit.where] = edit.values
    return after


def empty_edit(values: Labels) -> Edit:
    """An edit that changes nothing."""
    box = tuple(slice(0, 0) for _ in values.shape)
    return Edit(box, values[box])


def box_of(values: Labels, value: int) -> Box | None:
    """The smallest box that holds a label.

    Parameters
    ----------
    values : ndarray of int
        Label values, of any number of axes.
    value : int

    Returns
    -------
    tuple of slice or None
        None when no voxel has it.
    """
    return bounding_box(values == value)


def widened(box: Box, shape: tuple[int, ...], by: tuple[int, ...]) -> Box:
    """A box that reaches some voxels further along each axis, within an array's shape."""
    return tuple(
        slice(max(0, span.start - margin), min(size, span.stop + margin))
        for span, size, margin in zip(box, shape, by, strict=True)
    )


def voxels_within(distance_mm: float, spacing_mm: Three) -> tuple[int, int, int]:
    """How many voxels along each axis hold a distance, rounded up."""
    i, j, k = (int(np.ceil(distance_mm / mm)) for mm in spacing_mm)
    return i, j, k


def relabelled(values: Labels, box: Box, mask: Mask, *, value: int, rules: Rules) -> Edit:
    """The edit after which a label is `mask` within a box, as far as the rules allow.

    Parameters
    ----------
    values : ndarray of int
    box : tuple of slice
    mask : ndarray of bool
        What the label shall be there; its voxels outside the mask become background.
    value : int
    rules : Rules
        What else may be taken.

    Raises
    ------
    LabelError
        When the label is locked.
    """
    rules.check_unlocked([value])
    before = values[box]
    after = before.copy()
    after[(before == value) & ~mask] = 0
    after[mask & (rules.free(before) | (before == value))] = value
    return Edit(box, after)


def protected(before: Labels, after: Labels, locked: Iterable[int]) -> Labels:
    """`after`, with every voxel that a locked label would lose or gain as it was before.

    Parameters
    ----------
    before, after : ndarray of int
        Of one shape.
    locked : iterable of int
        Labels that may not change.

    Returns
    -------
    ndarray
        A new array.
    """
    locked_values = np.fromiter(locked, dtype=np.int64)
    touched = np.isin(before, locked_values) | np.isin(after, locked_values)
    return np.where(touched, before, after)
