"""How large each structure is."""

from __future__ import annotations

from medseg.volume import LabelMap
from medseg.volume.label_map import voxel_counts


def volumes_ml(labels: LabelMap) -> dict[str, float]:
    """Volume of every label of the table, in millilitres.

    Returns
    -------
    dict of str to float
        By name, in the order of their values; 0.0 for a label that no voxel holds. Sheared grids
        (gantry tilt) are measured exactly.
    """
    counts = voxel_counts(labels.values)
    ml_per_voxel = labels.grid.voxel_volume_mm3 / 1000.0
    return {label.name: float(counts[label.value] * ml_per_voxel) for label in labels.table}
