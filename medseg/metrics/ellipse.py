"""How long it is around a flat, round structure, such as a fetal head in ultrasound."""

from __future__ import annotations

import math

import numpy as np

from medseg.errors import GeometryError
from medseg.volume import LabelMap


def circumferences_mm(labels: LabelMap) -> dict[str, float]:
    """Circumference of the ellipse that has each label's area moments, in millimetres.

    A filled ellipse with half axes a and b has the second moments a^2 / 4 and b^2 / 4 about its
    centre, to which a pixel adds 1 / 12 of its squared edges. The circumference is Ramanujan's
    second approximation (Quarterly Journal of Mathematics 45, 1914, p. 350), exact to 1e-5 for half
    axes up to 4 to 1. A structure that the picture's edge cuts off comes out too small.

    Parameters
    ----------
    labels : LabelMap
        One slice thick along some axis; in pixels where its picture has no size in mm.

    Returns
    -------
    dict of str to float
        By name, in the order of the table; 0.0 for a label that no voxel holds.

    Raises
    ------
    GeometryError
        When the label map is thicker than a slice.
    """
    shape = labels.grid.shape
    if min(shape) > 1:
        raise GeometryError(
            f"a circumference is that of a slice, and the label map has"
            f" {' x '.join(map(str, shape))} voxels; take one slice of it"
        )
    axes = [axis for axis in range(3) if axis != int(np.argmin(shape))]
    edges = labels.grid.affine[:3, axes]
    rows = {label.name: np.argwhere(labels.values == label.value) for label in labels.table}
    return {name: _circumference(voxels[:, axes] @ edges.T, edges) for name, voxels in rows.items()}


def _circumference(points: np.ndarray, edges: np.ndarray) -> float:
    """Of the ellipse with the moments of voxels at `points` (n, 3), whose `edges` are (3, 2)."""
    if not len(points):
        return 0.0
    moments = np.cov(points.T, bias=True) + edges @ edges.T / 12
    *_, b, a = 2 * np.sqrt(np.linalg.eigvalsh(moments).clip(0))
    h = ((a - b) / (a + b)) ** 2
    return math.pi * float((a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h))))
