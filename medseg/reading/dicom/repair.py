"""Uneven or incomplete stacks brought onto even slices, from the position of every slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.geometry import check_repaired, depths_mm
from medseg.volume import Grid, NativeSlices
from medseg.volume.conventions import affine_from_dicom
from medseg.volume.grid import FloatArray

_MOST_GROWTH = 2
_SAME_PLACE = 0.05  # voxels in plane, or of the slice distance, that are not worth a blend

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Repair:
    """Even slices for frames that are none.

    Parameters
    ----------
    grid : Grid
        From the first frame to the last.
    levels : ndarray, shape (n,)
        Where along K each frame lies.
    shifts : ndarray, shape (n, 2)
        How far, in voxels along I and J, each frame lies from its place on `grid`.
    note : str
        What is done, for the provenance.
    """

    grid: Grid
    levels: FloatArray
    shifts: FloatArray
    note: str

    def apply(self, voxels: Array) -> Array:
        """Bring intensities onto the grid.

        Parameters
        ----------
        voxels : ndarray, shape (C, I, J, n)
            One frame per last index.

        Returns
        -------
        ndarray, shape (C, *grid.shape)
            Same dtype; slices at a frame's own place are that frame.
        """
        out = np.empty((voxels.shape[0], *self.grid.shape), voxels.dtype)
        fill = voxels.min()
        for k in range(self.grid.shape[2]):
            above = min(int(np.searchsorted(self.levels, k)), len(self.levels) - 1)
            below = max(above - 1, 0)
            near, far = (self._plane(voxels, index, fill) for index in (below, above))
            gap = max(self.levels[above] - self.levels[below], 1e-9)
            out[..., k] = _blend(near, far, (k - self.levels[below]) / gap)
        return out

    def _plane(self, voxels: Array, index: int, fill: float) -> Array:
        """Frame `index`, moved in its plane to where `grid` has its voxels."""
        plane = voxels[..., index]
        if np.abs(self.shifts[index]).max() < _SAME_PLACE:
            return plane
        shifted = np.asarray(plane, np.float64)
        for axis, shift in zip((-2, -1), self.shifts[index], strict=True):
            shifted = _shifted(shifted, axis, float(shift), fill)
        return _as_type(shifted, plane.dtype)


def repair_of(frames: Sequence[Frame], refusal: GeometryError) -> Repair:
    """How to bring frames onto even slices.

    Parameters
    ----------
    frames : sequence of Frame
        Sorted along their normal.
    refusal : GeometryError
        Why they are refused otherwise, code ``MISSING_SLICE`` or ``IRREGULAR``.

    Raises
    ------
    GeometryError
        `refusal` itself when more than half of the slices would be made up, or code
        ``SELF_CHECK``.
    """
    first, depths = frames[0], depths_mm(frames)
    depths = depths - depths[0]
    median_gap = float(np.median(np.diff(depths)))
    count = round(float(depths[-1]) / median_gap) + 1
    if not 2 <= count <= _MOST_GROWTH * len(frames):
        raise refusal
    positions = np.array([frame.position_mm for frame in frames])
    step = (positions[-1] - positions[0]) / (count - 1)
    levels = depths / (depths[-1] / (count - 1))
    if refusal.code == "MISSING_SLICE":
        levels = np.round(levels)
    affine = affine_from_dicom(first.orientation, first.pixel_spacing_mm, first.position_mm, step)
    grid = Grid((first.size[1], first.size[0], count), affine)
    axes = np.reshape(first.orientation, (2, 3)) / np.array(first.pixel_spacing_mm)[::-1, None]
    shifts = (positions - positions[0] - levels[:, None] * step) @ axes.T
    check_repaired(frames, grid, levels, shifts)
    return Repair(grid, levels, shifts, _note(levels, np.diff(depths), count, refusal.code))


def native_slices_of(frames: Sequence[Frame]) -> NativeSlices:
    """Where frames lie by their own headers, for results that must lie there too.

    Returns
    -------
    NativeSlices
        Each as deep as the usual distance between slices.
    """
    depth = float(np.median(np.diff(depths_mm(frames))))
    return NativeSlices(
        tuple(_frame_grid(frame, depth) for frame in frames),
        tuple(frame.file.path for frame in frames),
        tuple(frame.file.instance_uid for frame in frames),
    )


def _frame_grid(frame: Frame, depth_mm: float) -> Grid:
    step = depth_mm * np.cross(frame.orientation[:3], frame.orientation[3:])
    affine = affine_from_dicom(frame.orientation, frame.pixel_spacing_mm, frame.position_mm, step)
    return Grid((frame.size[1], frame.size[0], 1), affine)


def _note(levels: FloatArray, gaps: FloatArray, count: int, code: str) -> str:
    """One sentence for the provenance."""
    if code == "MISSING_SLICE":
        missing = sorted(set(range(count)) - {int(level) for level in levels})
        listing = ", ".join(str(k + 1) for k in missing)
        return f"missing=interpolate: slices {listing} of {count} were missing and are interpolated"
    return (
        f"irregular=resample: {len(levels)} slices {gaps.min():.2f} to {gaps.max():.2f} mm apart"
        f" are resampled to {count} even ones"
    )


def _blend(near: Array, far: Array, weight: float) -> Array:
    if weight < _SAME_PLACE / 2:
        return near
    if weight > 1 - _SAME_PLACE / 2:
        return far
    blended = np.asarray(near, np.float64) * (1 - weight) + np.asarray(far, np.float64) * weight
    return _as_type(blended, near.dtype)


def _as_type(values: Array, dtype: np.dtype[Any]) -> Array:
    """Floats as `dtype`, whole numbers rounded."""
    return (np.rint(values) if np.issubdtype(dtype, np.integer) else values).astype(dtype)


def _shifted(plane: Array, axis: int, shift: float, fill: float) -> Array:
    """`plane` whose voxels lie `shift` further along `axis`, linearly; `fill` comes in."""
    count = plane.shape[axis]
    source = np.arange(count) - shift
    low = np.floor(source).astype(int)
    fraction = (source - low).reshape((-1, 1) if axis == -2 else (1, -1))
    near, far = (np.take(plane, low + step, axis=axis, mode="clip") for step in (0, 1))
    outside = (source < -0.5) | (source > count - 0.5)
    shifted = near * (1 - fraction) + far * fraction
    return np.where(outside.reshape(fraction.shape), fill, shifted)
