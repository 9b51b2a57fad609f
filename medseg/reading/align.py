"""Labels on the grid of the scan that was labelled: the same voxels, none made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.volume import Grid, LabelMap, Scan
from medseg.volume.conventions import Reorientation, orientation_letters
from medseg.volume.grid import CORNERS

_OFF_VOXEL = 0.01  # voxels; how far from whole steps two grids may lie apart to share voxels


def align(labels: LabelMap, scan: Scan) -> LabelMap:
    """The same labels on the scan's grid, of which theirs may be a part, in any axis order.

    Returns
    -------
    LabelMap
        With the scan's provenance, and the notes of both.

    Raises
    ------
    GeometryError
        Code ``GRIDS_DIFFER`` when voxels of the two do not coincide, ``OUTSIDE_IMAGE`` when labels
        lie beyond the scan.
    """
    values = on_grid(labels, scan.grid)
    notes = (*scan.provenance.notes, *labels.provenance.notes, *_frame_notes(labels, scan))
    return LabelMap(values, scan.grid, labels.table, replace(scan.provenance, notes=notes))


def on_grid(labels: LabelMap, grid: Grid) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Values of labels at the voxels of a grid, of which theirs may be a part; 0 elsewhere.

    Raises
    ------
    GeometryError
        As :func:`align`.
    """
    reorientation = Reorientation.towards(labels.grid, orientation_letters(grid))
    index = grid.to_index(reorientation.target.corners_mm())
    first = np.round(index[0])
    expected = first + CORNERS * (np.asarray(reorientation.target.shape) - 1)
    deviation = float(np.abs(index - expected).max())
    if deviation > _OFF_VOXEL:
        raise GeometryError(
            f"the labels' voxels lie up to {deviation:.2g} voxels away from the scan's; give the"
            " scan that was labelled",
            code="GRIDS_DIFFER",
        )
    values = np.zeros(grid.shape, labels.values.dtype)
    labelled = np.argwhere(reoriented := reorientation.apply(labels.values))
    targets = labelled + first.astype(int)
    if ((targets < 0) | (targets >= grid.shape)).any():
        raise GeometryError(
            "labels lie beyond the scan; give the scan that was labelled", code="OUTSIDE_IMAGE"
        )
    values[tuple(targets.T)] = reoriented[tuple(labelled.T)]
    return values


def _frame_notes(labels: LabelMap, scan: Scan) -> tuple[str, ...]:
    """A note when the two are of different frames of reference, though their voxels coincide."""
    frames = {labels.provenance.frame_of_reference_uid, scan.provenance.frame_of_reference_uid}
    if len(frames - {""}) < 2:
        return ()
    note = (
        "labels and scan are of two frames of reference; they were put together because their"
        " voxels coincide"
    )
    return (note,)
