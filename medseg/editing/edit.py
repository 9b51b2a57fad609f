"""What an operation answers with, and which voxels it may touch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError

Labels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, ...]
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

    def check_open(self, values: Iterable[int]) -> None:
        """Raise `LabelError` when one of `values` is locked."""
        shut = sorted(set(values) & set(self.locked))
        if shut:
            raise LabelError(f"label {shut[0]} is locked; unlock it to change it", code="LOCKED")


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


def nothing(values: Labels) -> Edit:
    """An edit that changes nothing."""
    where = tuple(slice(0, 0) for _ in values.shape)
    return Edit(where, values[where])


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
    there = values == value
    box = []
    for axis in range(values.ndim):
        # the first axis is reduced over all the others once; the next look at what is left
        others = tuple(other for other in range(values.ndim) if other != axis)
        held = np.flatnonzero(there.any(axis=others))
        if not held.size:
            return None
        span = slice(int(held[0]), int(held[-1]) + 1)
        there = there[(slice(None),) * axis + (span,)]
        box.append(span)
    return tuple(box)


def widened(box: Box, shape: tuple[int, ...], by: tuple[int, ...]) -> Box:
    """A box that reaches some voxels further along each axis, within an array's shape."""
    return tuple(
        slice(max(0, span.start - more), min(size, span.stop + more))
        for span, size, more in zip(box, shape, by, strict=True)
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
    rules.check_open([value])
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
    shut = np.fromiter(locked, dtype=np.int64)
    held = np.isin(before, shut) | np.isin(after, shut)
    return np.where(held, before, after)
