"""Label maps brought to another grid, so that they can be measured against maps on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.volume import Grid, LabelMap
from medseg.volume.resampling import largest_mask

NOTE = "resampled from another grid, so its borders are exact to about one voxel"


def labels_on(labels: LabelMap, grid: Grid) -> LabelMap:
    """A label map on another grid, wherever that lies.

    Returns
    -------
    LabelMap
        Each label's mask is interpolated linearly and the largest wins; background where the old
        grid does not reach. A note in the provenance says so.
    """
    if labels.grid.matches(grid):
        return labels
    step = np.linalg.inv(labels.grid.affine) @ grid.affine

    def transform(mask: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        transformed: npt.NDArray[np.float32] = ndimage.affine_transform(
            mask, step[:3, :3], step[:3, 3], output_shape=grid.shape, order=1
        )
        return transformed

    values = largest_mask(np.asarray(labels.values), grid.shape, transform)
    notes = (*labels.provenance.notes, NOTE)
    return LabelMap(values, grid, labels.table, replace(labels.provenance, notes=notes))
