"""Labels on the grid of the scan that was labelled: the same voxels, none made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medseg.errors import GeometryError
from medseg.volume import LabelMap, Scan
from medseg.volume.conventions import Reorientation, orientation_letters

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
    turn = Reorientation.towards(labels.grid, orientation_letters(scan.grid))
    index = scan.grid.to_index(turn.target.corners_mm())
    first = np.round(index[0])
    steps = (np.arange(8)[:, None] >> np.arange(3)) & 1
    expected = first + steps * (np.asarray(turn.target.shape) - 1)
    off = float(np.abs(index - expected).max())
    if off > _OFF_VOXEL:
        raise GeometryError(
            f"the labels' voxels lie up to {off:.2g} voxels away from the scan's; give the scan"
            " that was labelled",
            code="GRIDS_DIFFER",
        )
    values = np.zeros(scan.grid.shape, labels.values.dtype)
    held = np.argwhere(turned := turn.apply(labels.values))
    place = held + first.astype(int)
    if ((place < 0) | (place >= scan.grid.shape)).any():
        raise GeometryError(
            "labels lie beyond the scan; give the scan that was labelled", code="OUTSIDE_IMAGE"
        )
    values[tuple(place.T)] = turned[tuple(held.T)]
    notes = (*scan.provenance.notes, *labels.provenance.notes)
    return LabelMap(values, scan.grid, labels.table, replace(scan.provenance, notes=notes))
