"""Sheared grids (gantry tilt) made right-angled, and labels brought back to the native slices.

Slices of a tilted series lie parallel, each shifted in its own plane against the one before.
Straightening undoes that shift slice by slice: the slices stay where they are along their normal,
and voxels move in-plane only, by a fraction of a pixel after whole pixels. Nothing is snapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.volume.grid import FloatArray, Grid
from medseg.volume.resampling import largest_mask

SHEAR_LIMIT_DEGREES = 0.1
"""Below this a grid counts as right-angled."""

ROUNDING = 1e-6
"""Voxels by which a shift may miss a whole number and still be one."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Straightening:
    """In-plane shifts that make a grid right-angled.

    Parameters
    ----------
    source : Grid
        Sheared along K: I and J at right angles, K not along their normal.
    """

    source: Grid

    @property
    def shift_voxels(self) -> FloatArray:
        """How far, in voxels along I and J, each slice lies from where a straight one would.

        Returns
        -------
        ndarray, shape (K, 2)
        """
        step = self.source.affine[:3, 2]
        planes = self.source.affine[:3, :2]
        along = planes.T @ step / (planes * planes).sum(axis=0)
        shifts: FloatArray = np.arange(self.source.shape[2])[:, None] * along
        return shifts

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Voxels to add before and after along I and J so that every shifted slice fits."""
        low = np.floor(self.shift_voxels.min(axis=0) + ROUNDING).astype(int)
        high = np.ceil(self.shift_voxels.max(axis=0) - ROUNDING).astype(int)
        (i0, j0), (i1, j1) = -np.minimum(low, 0), np.maximum(high, 0)
        return (int(i0), int(i1)), (int(j0), int(j1))

    @property
    def target(self) -> Grid:
        """The right-angled grid, wide enough for all slices."""
        (i0, i1), (j0, j1) = self.padding
        matrix = self.source.affine[:3, :3].copy()
        planes = matrix[:, :2]
        # what the step from slice to slice has within the plane goes; its part along the normal,
        # and with it the slice distance, stays (Gram-Schmidt)
        matrix[:, 2] -= planes @ (planes.T @ matrix[:, 2] / (planes * planes).sum(axis=0))
        affine = np.eye(4)
        affine[:3, :3] = matrix
        affine[:3, 3] = self.source.affine[:3, 3] - planes @ np.array([i0, j0])
        i, j, k = self.source.shape
        return Grid((i + i0 + i1, j + j0 + j1, k), affine)

    def apply(self, voxels: Array, *, fill: float | None = None) -> npt.NDArray[np.float32]:
        """Intensities on `target`, interpolated linearly in-plane; shape (C, *target.shape).

        Parameters
        ----------
        voxels : ndarray, shape (C, I, J, K)
        fill : float, optional
            What lies outside the scan; by default the smallest intensity of each channel.
        """
        out = np.empty((voxels.shape[0], *self.target.shape), np.float32)
        out[:] = voxels.min(axis=(1, 2, 3), keepdims=True) if fill is None else fill
        for k, offset in enumerate(self._offsets()):
            plane = np.asarray(voxels[..., k], np.float32)
            out[..., k] = _shifted_into(out[..., k], plane, offset)
        return out

    def apply_labels(self, values: Array) -> Array:
        """Labels of `source` on `target`: the label with the largest interpolated mask.

        Parameters
        ----------
        values : ndarray of unsigned int, shape `source.shape`

        Returns
        -------
        ndarray, shape `target.shape`
            0 outside the scan.
        """
        return largest_mask(
            values, self.target.shape, lambda mask: self.apply(mask[None], fill=0.0)[0]
        )

    def undo_labels(self, values: Array) -> Array:
        """Labels of `target` on the native slices: the label with the largest interpolated mask.

        Parameters
        ----------
        values : ndarray of unsigned int, shape `target.shape`

        Returns
        -------
        ndarray, shape `source.shape`
        """
        return largest_mask(values, self.source.shape, self.undo)

    def undo(self, voxels: Array) -> Array:
        """Intensities on `target` interpolated at the native voxels.

        Parameters
        ----------
        voxels : ndarray, shape (..., *target.shape)

        Returns
        -------
        ndarray, shape (..., *source.shape)
        """
        size = self.source.shape[:2]
        slices = [_window(voxels[..., k], at, size) for k, at in enumerate(self._offsets())]
        return np.stack(slices, axis=-1)

    def _offsets(self) -> list[tuple[float, float]]:
        """Where in `target` each slice begins, in voxels along I and J."""
        (i0, _), (j0, _) = self.padding
        return [(float(i) + i0, float(j) + j0) for i, j in self.shift_voxels]


def straightening_of(grid: Grid) -> Straightening | None:
    """What straightens `grid`, or None when it is right-angled already."""
    return Straightening(grid) if grid.shear_degrees > SHEAR_LIMIT_DEGREES else None


def _shifted_into(canvas: Array, plane: Array, offset: tuple[float, float]) -> Array:
    """`plane`, shape (C, I, J), at a fractional `offset` in `canvas`, which shows around it.

    A fractional shift covers one voxel more along its axis; the outermost ones hold the border.
    """
    padded = np.pad(plane, ((0, 0), (1, 1), (1, 1)), mode="edge")
    first = [math.floor(start + ROUNDING) for start in offset]
    fractions = [max(start - begin, 0.0) for start, begin in zip(offset, first, strict=True)]
    size = [
        n + (fraction > ROUNDING) for n, fraction in zip(plane.shape[1:], fractions, strict=True)
    ]
    shifted = _window(padded, (1 - fractions[0], 1 - fractions[1]), tuple(size))
    canvas[:, first[0] : first[0] + size[0], first[1] : first[1] + size[1]] = shifted
    return canvas


def _window(plane: Array, offset: tuple[float, float], size: tuple[int, ...]) -> Array:
    """`size` voxels of ``plane``, shape (..., I, J), from a fractional `offset` on, linearly."""
    for axis, (start, count) in enumerate(zip(offset, size, strict=True), start=-2):
        first = math.floor(start + ROUNDING)
        fraction = np.float32(max(start - first, 0.0))
        near = np.take(plane, range(first, first + count), axis=axis, mode="clip")
        far = np.take(plane, range(first + 1, first + 1 + count), axis=axis, mode="clip")
        plane = near if fraction < ROUNDING else near * (1 - fraction) + far * fraction
    return plane
