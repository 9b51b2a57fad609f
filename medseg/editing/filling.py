"""Fill what is missing of a label: the slices between drawn ones, and holes."""

from __future__ import annotations

from itertools import pairwise
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
    widened,
)

Field = npt.NDArray[np.float32]


def fill_between_slices(
    values: Labels, value: int, *, spacing_mm: Three, axis: int = 0, rules: Rules = UNLOCKED
) -> Edit:
    """Fill empty slices between slices that hold a label, by its shape in them.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    value : int
    spacing_mm : tuple of float
        Of the three axes.
    axis : int, default 0
        Across which the slices were drawn.
    rules : Rules
        Which voxels may be taken.

    Returns
    -------
    Edit
        Slices that hold the label already stay as they are.

    Raises
    ------
    LabelError
        When the label is locked.

    Notes
    -----
    Signed distances to the outline within the slice, in mm, are interpolated linearly from one
    drawn slice to the next. Outlines that do not overlap may leave the middle between them empty.

    References
    ----------
    Raya and Udupa, Shape-based interpolation of multidimensional objects, IEEE TMI 9 (1990) 32.
    """
    rules.check_unlocked([value])
    label_box = box_of(values, value)
    if label_box is None:
        return empty_edit(values)
    box = widened(label_box, values.shape, tuple(0 if other == axis else 1 for other in range(3)))
    mask = values[box] == value
    filled = np.moveaxis(mask, axis, 0).copy()
    drawn = np.flatnonzero(filled.any(axis=(1, 2)))
    in_plane_mm = [mm for other, mm in enumerate(spacing_mm) if other != axis]
    for first, last in pairwise(drawn):
        if last - first > 1:
            _fill_gap(filled, int(first), int(last), in_plane_mm)
    return relabelled(values, box, np.moveaxis(filled, 0, axis), value=value, rules=rules)


def _fill_gap(filled: Mask, first: int, last: int, in_plane_mm: list[float]) -> None:
    before, after = (_signed_mm(filled[row], in_plane_mm) for row in (first, last))
    for row in range(first + 1, last):
        fraction = (row - first) / (last - first)
        filled[row] = (1 - fraction) * before + fraction * after > 0


def _signed_mm(mask: Mask, spacing_mm: list[float]) -> Field:
    """Distance to the outline in mm: positive inside, negative outside.

    The outline lies half-way between the voxels on its two sides; beyond the array all is outside.
    """
    from scipy.ndimage import distance_transform_edt

    padded = np.pad(mask, 1)
    inside = distance_transform_edt(padded, sampling=spacing_mm)
    outside = distance_transform_edt(~padded, sampling=spacing_mm)
    signed: Field = (inside - outside)[1:-1, 1:-1].astype(np.float32)
    return signed


def fill_holes(
    values: Labels,
    value: int,
    *,
    spacing_mm: Three,
    largest_mm3: float | None = None,
    rules: Rules = UNLOCKED,
) -> Edit:
    """Give to a label the holes that it encloses on all sides.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    value : int
    spacing_mm : tuple of float
        Of the three axes.
    largest_mm3 : float, optional
    rules : Rules
        Which voxels may be taken.

    Raises
    ------
    LabelError
        When the label is locked.

    See Also
    --------
    medseg.postprocessing.holes : The same step after a network.
    """
    from medseg.postprocessing import holes

    box = box_of(values, value)
    if box is None:
        return empty_edit(values)
    mask: npt.NDArray[Any] = (values[box] == value).astype(np.uint8)
    settings = holes.Settings(largest_mm3=largest_mm3, labels=(1,))
    filled = holes.build(settings)(mask, spacing_mm=spacing_mm) == 1
    return relabelled(values, box, filled, value=value, rules=rules)
