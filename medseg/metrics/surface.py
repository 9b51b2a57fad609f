"""How far two label maps' surfaces lie apart, label by label, in millimetres."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from medseg.metrics.ignore import leave_out_ignored
from medseg.metrics.overlap import check_same_grid
from medseg.volume import LabelMap, LabelTable

Box = tuple[slice, ...]
Points = npt.NDArray[np.float64]


class SurfaceDistance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Distances between a label's predicted and true surface.

    Parameters
    ----------
    hd95_mm : float or None
        95th percentile Hausdorff distance; None when the label is empty in either map.
    assd_mm : float or None
        Average symmetric surface distance; None when the label is empty in either map.
    nsd : float or None
        Normalised surface Dice at the tolerance asked for, 0 to 1; 0 when the label is empty in
        one map, None when it is in both.
    """

    hd95_mm: float | None
    assd_mm: float | None
    nsd: float | None


def surface_distances(
    prediction: LabelMap, truth: LabelMap, *, tolerance_mm: float = 1.0
) -> dict[str, SurfaceDistance]:
    """Surface distances of every label in the truth's table.

    Parameters
    ----------
    prediction : LabelMap
        What a model (or another reader) drew.
    truth : LabelMap
        The reference, on the same grid.
    tolerance_mm : float, default 1.0
        Distance within which surfaces count as equal for the normalised surface Dice.

    Returns
    -------
    dict of str to SurfaceDistance
        One entry per label of `truth.table`, by name.

    Raises
    ------
    GeometryError
        When the two maps do not lie on the same grid.

    Notes
    -----
    A surface is the label's voxels with a neighbour (across a face) outside it; distances run
    between voxel centres, in mm on the true spacing. Every surface voxel counts the same, whatever
    its area. HD95 is the larger of the two directed 95th percentiles (Taha and Hanbury, BMC Medical
    Imaging 15, 2015); ASSD is the mean over the surface voxels of both maps of the distance to the
    other surface (Heimann et al., IEEE Transactions on Medical Imaging 28, 2009); NSD counts the
    surface voxels of both maps within the tolerance (Nikolov et al., J Med Internet Res 23, 2021).
    Axes are taken as orthogonal: of a scan with gantry tilt the distances are those of its
    straightened voxels.
    """
    check_same_grid(prediction, truth)
    maps = leave_out_ignored(prediction, truth)
    boxes = [_boxes(labels, maps[1].table) for labels in maps]
    distances = {}
    for label in maps[1].table:
        surfaces = [
            _surface_mm(labels, label.value, box)
            for labels, boxes_of in zip(maps, boxes, strict=True)
            if (box := boxes_of[label.value]) is not None
        ]
        distances[label.name] = _between(surfaces, tolerance_mm)
    return distances


def _between(surfaces: list[Points], tolerance_mm: float) -> SurfaceDistance:
    """Distances of two surfaces; there are fewer where a map is without the label."""
    if len(surfaces) < 2:
        return SurfaceDistance(hd95_mm=None, assd_mm=None, nsd=0.0 if surfaces else None)
    trees = [KDTree(points, balanced_tree=False, compact_nodes=False) for points in surfaces]
    forward, backward = trees[1].query(surfaces[0])[0], trees[0].query(surfaces[1])[0]
    within = (forward <= tolerance_mm).sum() + (backward <= tolerance_mm).sum()
    return SurfaceDistance(
        hd95_mm=float(max(np.percentile(forward, 95), np.percentile(backward, 95))),
        assd_mm=float((forward.sum() + backward.sum()) / (forward.size + backward.size)),
        nsd=float(within / (forward.size + backward.size)),
    )


def _boxes(labels: LabelMap, table: LabelTable) -> dict[int, Box | None]:
    """The box around each label of a table; None where the map is without it."""
    if not table.values:
        return {}
    objects = ndimage.find_objects(labels.values, max(table.values))
    return {value: objects[value - 1] for value in table.values}


def _surface_mm(labels: LabelMap, value: int, box: Box) -> Points:
    """Where the voxels of a label lie that have a neighbour outside it."""
    mask = labels.values[box] == value
    faces = _faces(labels.grid.shape)
    inner = ndimage.binary_erosion(mask, faces)  # the box's border counts as outside, as it is
    corner = np.array([span.start for span in box])
    return np.asarray((np.argwhere(mask & ~inner) + corner) * labels.grid.spacing_mm)


def _faces(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Neighbours across a face; none along an axis on which the whole map is one voxel."""
    reach = [0 if size == 1 else 1 for size in shape]
    faces: npt.NDArray[np.bool_] = ndimage.generate_binary_structure(len(shape), 1)
    return faces[tuple(slice(1 - r, 2 + r) for r in reach)]
