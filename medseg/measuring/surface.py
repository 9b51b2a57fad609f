"""How far two label maps' surfaces lie apart, label by label, in millimetres."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.measuring.ignoring import leave_out_ignored
from medseg.measuring.overlap import check_same_grid
from medseg.volume import Grid, LabelMap

Mask = npt.NDArray[np.bool_]


class SurfaceDistance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Distances between a label's predicted and true surface.

    Parameters
    ----------
    hd95_mm : float or None
        95th percentile Hausdorff distance; None when the label is empty in either map.
    nsd : float or None
        Normalised surface Dice at the tolerance asked for, 0 to 1; 0 when the label is empty in
        one map, None when it is in both.
    """

    hd95_mm: float | None
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
    between voxel centres, in mm. HD95 is the larger of the two directed 95th percentiles (Taha
    and Hanbury, BMC Medical Imaging 15, 2015); NSD counts the surface voxels of both maps within
    the tolerance (Nikolov et al., J Med Internet Res 23, 2021). Axes are taken as orthogonal:
    of a scan with gantry tilt the distances are those of its straightened voxels.
    """
    check_same_grid(prediction, truth)
    prediction, truth = leave_out_ignored(prediction, truth)
    return {
        label.name: _of_masks(
            prediction.values == label.value, truth.values == label.value, truth.grid, tolerance_mm
        )
        for label in truth.table
    }


def _of_masks(predicted: Mask, true: Mask, grid: Grid, tolerance_mm: float) -> SurfaceDistance:
    """Distances of one label; only the box around both masks is looked at."""
    if not (predicted.any() and true.any()):
        either = bool(predicted.any() or true.any())
        return SurfaceDistance(hd95_mm=None, nsd=0.0 if either else None)
    box = ndimage.find_objects((predicted | true).astype(np.uint8))[0]
    faces = _faces(grid.shape)
    first, second = _surface(predicted[box], faces), _surface(true[box], faces)
    there = _distances_mm(second, grid.spacing_mm)[first]
    back = _distances_mm(first, grid.spacing_mm)[second]
    within = (there <= tolerance_mm).sum() + (back <= tolerance_mm).sum()
    return SurfaceDistance(
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        nsd=float(within / (there.size + back.size)),
    )


def _faces(shape: tuple[int, ...]) -> Mask:
    """Neighbours across a face; none along an axis on which the whole map is one voxel."""
    reach = [0 if size == 1 else 1 for size in shape]
    faces: Mask = ndimage.generate_binary_structure(len(shape), 1)
    return faces[tuple(slice(1 - r, 2 + r) for r in reach)]


def _surface(mask: Mask, faces: Mask) -> Mask:
    """Voxels of a mask with a neighbour outside it; the array's border counts as outside."""
    inner: Mask = ndimage.binary_erosion(mask, faces)
    return mask & ~inner


def _distances_mm(surface: Mask, spacing_mm: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Distance of every voxel to the nearest voxel of a surface."""
    distances: npt.NDArray[np.float64] = ndimage.distance_transform_edt(
        ~surface, sampling=spacing_mm
    )
    return distances
