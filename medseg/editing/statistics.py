"""Size and place of each label, for a list of organs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from medseg.editing.edit import Labels, Mask, Three
from medseg.volume.bounding_box import Box


@dataclass(frozen=True)
class LabelStatistics:
    """Size and place of one label.

    Parameters
    ----------
    value : int
    voxels : int
    volume_ml : float
    slices : tuple of int
        How many slices across each axis hold it.
    centre : tuple of int
        The voxel of the label that lies closest to its centroid, as far as one slice shows.
    box : tuple of slice
        The smallest box that holds it.
    """

    value: int
    voxels: int
    volume_ml: float
    slices: tuple[int, int, int]
    centre: tuple[int, int, int]
    box: Box


def label_statistics(
    values: Labels, *, spacing_mm: Three, voxel_mm3: float | None = None
) -> dict[int, LabelStatistics]:
    """Size and place of every label that is there.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
        Label values; 0 is background.
    spacing_mm : tuple of float
        Of the three axes.
    voxel_mm3 : float, optional
        Volume of a voxel, where the axes are not at right angles.

    Returns
    -------
    dict of int to LabelStatistics
        By value, ascending.
    """
    from scipy.ndimage import find_objects

    ml_per_voxel = (prod(spacing_mm) if voxel_mm3 is None else voxel_mm3) / 1000.0
    boxes = find_objects(values)
    return {
        value: _measured(values[box] == value, value, box, spacing_mm, ml_per_voxel)
        for value, box in enumerate(boxes, start=1)
        if box is not None
    }


def _measured(
    mask: Mask, value: int, box: Box, spacing_mm: Three, ml_per_voxel: float
) -> LabelStatistics:
    counts = [
        np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
        for axis in range(3)
    ]
    voxels = int(counts[0].sum())
    centroid = [float(np.average(np.arange(len(profile)), weights=profile)) for profile in counts]
    i, j, k = (int(np.count_nonzero(profile)) for profile in counts)
    return LabelStatistics(
        value,
        voxels,
        voxels * ml_per_voxel,
        (i, j, k),
        _centre(mask, counts[0], centroid, box, spacing_mm),
        box,
    )


def _centre(
    mask: Mask, per_slice: Labels, centroid: list[float], box: Box, spacing_mm: Three
) -> tuple[int, int, int]:
    """A voxel of the label near its centroid: in the nearest slice that holds any, the nearest."""
    rows = np.flatnonzero(per_slice)
    row = int(rows[np.abs(rows - centroid[0]).argmin()])
    voxels = np.argwhere(mask[row])
    distances = ((voxels - centroid[1:]) * spacing_mm[1:]) ** 2
    j, k = voxels[distances.sum(axis=1).argmin()]
    return box[0].start + row, box[1].start + int(j), box[2].start + int(k)
