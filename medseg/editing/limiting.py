"""Keep of a label what has the right intensity."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from medseg.editing.edit import UNLOCKED, Edit, Labels, Rules, box_of, empty_edit, relabelled


def keep_in_range(
    values: Labels,
    value: int,
    image: npt.NDArray[Any],
    *,
    low: float,
    high: float,
    rules: Rules = UNLOCKED,
) -> Edit:
    """Take from a label the voxels whose intensity lies outside a range.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    value : int
    image : ndarray, shape (I, J, K)
    low, high : float
        What stays, both ends included.
    rules : Rules

    Raises
    ------
    LabelError
        When the label is locked.
    """
    box = box_of(values, value)
    if box is None:
        return empty_edit(values)
    remaining = (values[box] == value) & (image[box] >= low) & (image[box] <= high)
    return relabelled(values, box, remaining, value=value, rules=rules)
