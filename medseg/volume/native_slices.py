"""The slices of the files behind a volume, wherever each lies, and labels carried onto them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.volume.grid import FloatArray, Grid

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class NativeSlices:
    """Parallel slices at any distances, each with the file that holds it.

    Parameters
    ----------
    grids : tuple of Grid
        Each slice's own place, all of one shape (I, J, 1), in order along their normal.
    files : tuple of Path
        The file of each slice.
    instance_uids : tuple of str
        SOPInstanceUID of each slice.
    """

    grids: tuple[Grid, ...]
    files: tuple[Path, ...] = ()
    instance_uids: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, grid: Grid, files: tuple[Path, ...] = (), instance_uids: tuple[str, ...] = ()
    ) -> NativeSlices:
        """The slices of an even stack."""
        columns, rows, count = grid.shape
        affines = np.repeat(grid.affine[None], count, axis=0)
        affines[:, :3, 3] += np.arange(count)[:, None] * grid.affine[:3, 2]
        grids = tuple(Grid((columns, rows, 1), affine) for affine in affines)
        return cls(grids, files, instance_uids)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pixels along I and J, and the number of slices."""
        columns, rows, _ = self.grids[0].shape
        return columns, rows, len(self.grids)

    @cached_property
    def _planes(self) -> tuple[FloatArray, FloatArray]:
        """Origin, mm, and unit normal of each slice; shapes (n, 3)."""
        affines = np.array([grid.affine for grid in self.grids])
        normals = np.cross(affines[:, :3, 0], affines[:, :3, 1])
        return affines[:, :3, 3], normals / np.linalg.norm(normals, axis=1, keepdims=True)

    def nearest(self, point_mm: npt.ArrayLike) -> int:
        """Number, from 0, of the slice whose plane is nearest to a point in RAS+ mm."""
        origins, normals = self._planes
        return int(np.abs(((np.asarray(point_mm) - origins) * normals).sum(axis=1)).argmin())

    def sample_labels(self, values: Array, grid: Grid) -> Array:
        """Labels of a volume at the pixels of every slice.

        Each pixel takes the voxel that holds it: the nearest along each of the volume's own axes,
        so that labels leave a resampled volume the way intensities came into it. Where a slice
        of the volume coincides with a native one, nothing changes.

        Parameters
        ----------
        values : ndarray of unsigned int, shape `grid.shape`
        grid : Grid

        Returns
        -------
        ndarray, shape (I, J, n)
            0 where a slice reaches beyond the volume.
        """
        out = np.zeros(self.shape, values.dtype)
        inverse = np.linalg.inv(grid.affine)
        for k, slice_grid in enumerate(self.grids):
            out[:, :, k] = _sampled(values, inverse @ slice_grid.affine, out.shape[:2])
        return out


def _sampled(values: Array, to_index: FloatArray, shape: tuple[int, ...]) -> Array:
    """`values` at the voxels that hold pixels (i, j, 0), whose indices are ``to_index @ pixel``."""
    i, j = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    within = np.ones(shape, bool)
    indices = []
    for (along_i, along_j, _, start), count in zip(to_index[:3], values.shape, strict=True):
        index = np.floor(i * along_i + j * along_j + (start + 0.5)).astype(np.intp)
        within &= (index >= 0) & (index < count)
        indices.append(np.clip(index, 0, count - 1))
    sampled: Array = np.where(within, values[tuple(indices)], values.dtype.type(0))
    return sampled
