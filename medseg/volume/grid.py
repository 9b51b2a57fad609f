"""Where voxels lie, without voxels: counts along three axes and an affine to RAS+ millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError

FloatArray = npt.NDArray[np.float64]

CORNERS = (np.arange(8)[:, None] >> np.arange(3)) & 1
"""The eight corners of the unit cube; shape (8, 3)."""

SAME_VOXEL = 0.1
"""Of the smallest spacing: how far apart voxels may lie and still be taken for one another."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel counts and the affine that carries indices to RAS+ millimetres.

    Parameters
    ----------
    shape : tuple of int
        Voxels along I, J, K; each at least 1.
    affine : array_like, shape (4, 4)
        Maps ``(i, j, k, 1)`` of a voxel centre to ``(x, y, z, 1)`` in RAS+ mm. Kept as
        read-only float64, bit for bit.

    Raises
    ------
    GeometryError
        When the shape is not three positive counts, or the affine is not a finite, invertible
        4 x 4 matrix with last row ``0 0 0 1``.

    Notes
    -----
    RAS+ (as in NIfTI): x grows to the patient's right, y to anterior, z to superior. DICOM and
    ITK use LPS+; :mod:`medseg.volume.conventions` is the only place that converts.

    Two grids are compared by intent, with :meth:`same_as`; ``==`` is identity.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"a grid needs three positive voxel counts, got {self.shape}")
        affine = np.array(self.affine, dtype=np.float64)
        _check_affine(affine)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxel centres along I, J, K."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def direction(self) -> FloatArray:
        """Unit vectors of the I, J, K axes as columns, in RAS+; shape (3, 3)."""
        unit: FloatArray = self.affine[:3, :3] / np.asarray(self.spacing_mm)
        return unit

    @property
    def origin_mm(self) -> FloatArray:
        """Centre of voxel (0, 0, 0) in RAS+ mm; shape (3,)."""
        return np.array(self.affine[:3, 3])

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm^3 (exact for sheared grids too)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def shear_degrees(self) -> float:
        """Largest departure of two axes from a right angle, in degrees (gantry tilt shows here)."""
        cosines = np.abs(self.direction.T @ self.direction - np.eye(3))
        return float(np.degrees(np.arcsin(np.clip(cosines.max(), 0.0, 1.0))))

    def to_world(self, index: npt.ArrayLike) -> FloatArray:
        """World position of voxel centres.

        Parameters
        ----------
        index : array_like, shape (..., 3)
            Voxel indices along I, J, K; fractions are allowed.

        Returns
        -------
        ndarray, shape (..., 3)
            RAS+ mm.
        """
        world: FloatArray = np.asarray(index, np.float64) @ self.affine[:3, :3].T
        return world + self.affine[:3, 3]

    def to_index(self, world_mm: npt.ArrayLike) -> FloatArray:
        """Voxel index (with fraction) at world positions; the inverse of :meth:`to_world`.

        Parameters
        ----------
        world_mm : array_like, shape (..., 3)
            RAS+ mm.

        Returns
        -------
        ndarray, shape (..., 3)
            Indices along I, J, K.
        """
        offset = np.asarray(world_mm, np.float64) - self.affine[:3, 3]
        index: FloatArray = offset @ np.linalg.inv(self.affine[:3, :3]).T
        return index

    def corners_mm(self) -> FloatArray:
        """World positions of the eight corner voxels' centres; shape (8, 3), RAS+ mm."""
        last = np.asarray(self.shape) - 1
        return self.to_world(CORNERS * last)

    def cropped(self, box: tuple[slice, ...]) -> Grid:
        """The grid of a box of these voxels, which stay where they are.

        Parameters
        ----------
        box : tuple of slice
            Along I, J, K, each with a start and a stop.
        """
        affine = np.array(self.affine)
        affine[:3, 3] = self.to_world([span.start for span in box])
        i, j, k = (span.stop - span.start for span in box)
        return Grid((i, j, k), affine)

    def same_as(self, other: Grid, *, tolerance_mm: float = 0.01) -> bool:
        """Whether both grids have the same voxels at the same places.

        Parameters
        ----------
        other : Grid
            The grid to compare with.
        tolerance_mm : float, default 0.01
            Largest distance, in mm, between matching corner voxels.
        """
        if self.shape != other.shape:
            return False
        distances_mm = np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1)
        return bool(distances_mm.max() <= tolerance_mm)

    def matches(self, other: Grid) -> bool:
        """Whether voxels of both may be taken for one another, to a tenth of the smallest spacing.

        This one rule decides for training, validation and evaluation whether labels lie on a scan.
        """
        finest = min(*self.spacing_mm, *other.spacing_mm)
        return self.same_as(other, tolerance_mm=SAME_VOXEL * finest)

    def difference(self, other: Grid) -> str:
        """How two grids differ, for a message: in voxels and spacing, else in place."""
        differences = []
        if self.shape != other.shape:
            differences.append(f"{self.shape} voxels against {other.shape}")
        if not np.allclose(self.spacing_mm, other.spacing_mm, rtol=1e-4):
            ours, theirs = _times(self.spacing_mm), _times(other.spacing_mm)
            differences.append(f"spacing {ours} mm against {theirs} mm")
        if not differences:
            apart_mm = np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max()
            differences.append(f"voxels up to {apart_mm:.3g} mm apart")
        return ", ".join(differences)


def _times(lengths_mm: tuple[float, ...]) -> str:
    return " x ".join(f"{mm:.5g}" for mm in lengths_mm)


def _check_affine(affine: FloatArray) -> None:
    """Raise `GeometryError` unless `affine` is finite, invertible and 4 x 4."""
    if affine.shape != (4, 4):
        raise GeometryError(
            f"an affine is a 4 x 4 matrix, got shape {affine.shape}; np.diag([i, j, k, 1]) makes"
            " one of a spacing in mm"
        )
    if not np.isfinite(affine).all():
        raise GeometryError(f"the affine holds NaN or infinity: {affine.tolist()}")
    if not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise GeometryError(f"the affine's last row must be 0 0 0 1, got {affine[3].tolist()}")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() == 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise GeometryError(f"the affine is singular: {affine[:3, :3].tolist()}")
