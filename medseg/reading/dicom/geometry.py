"""From slice positions to a grid: order, even steps, tilt, and the check after loading.

Everything comes from ImagePositionPatient and ImageOrientationPatient. SliceLocation,
InstanceNumber, SliceThickness and SpacingBetweenSlices are never used to place a slice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.errors import GeometryError
from medseg.reading.dicom.frames import Frame
from medseg.volume import Grid
from medseg.volume.conventions import affine_from_dicom, flip_lps_ras_points
from medseg.volume.grid import FloatArray

SAME_POSITION_MM = 0.01
"""Slices nearer than this along the normal are at one position."""

SINGLE_SLICE = "a single slice"
"""How the note on a stack of one begins."""

_OFF_MM = 0.1
_UNEVEN_FRACTION = 0.01
_TILT_DEGREES = 0.1


def depths_mm(frames: Sequence[Frame]) -> FloatArray:
    """Positions along the common normal (row direction x column direction); shape (n,), mm."""
    depths: FloatArray = _positions(frames) @ _normal(frames[0])
    return depths


def grid_of(frames: Sequence[Frame]) -> tuple[Grid, list[str]]:
    """The grid of slices that are sorted along their normal, with notes.

    Parameters
    ----------
    frames : sequence of Frame
        All with geometry, sorted by `depths_mm`, no two at one position.

    Returns
    -------
    grid : Grid
        I along the column index, J along the row index, K along the frames.
    notes : list of str
        Gantry tilt, or where a single slice's thickness comes from.

    Raises
    ------
    GeometryError
        When the slices are not evenly spaced or their orientation is not two unit vectors at a
        right angle.
    """
    first = frames[0]
    check_orientation(first)
    step, notes = _single_step(first) if len(frames) == 1 else _even_step(frames)
    affine = affine_from_dicom(first.orientation, first.pixel_spacing_mm, first.position_mm, step)
    rows, columns = first.size
    grid = Grid((columns, rows, len(frames)), affine)
    return grid, notes


def check_corners(frames: Sequence[Frame], grid: Grid) -> None:
    """Compare the four corners of every slice with the slice's own header.

    Raises
    ------
    GeometryError
        Code ``SELF_CHECK``, when a corner is more than 0.1 mm off.

    References
    ----------
    DICOM PS3.3 C.7.6.2.1.1: P = IPP + row * spacing[1] * c + column * spacing[0] * r.
    """
    levels = np.arange(len(frames), dtype=np.float64)
    errors_mm = corner_errors_mm(frames, grid, levels, np.zeros((len(frames), 2)))
    if errors_mm.max() > _OFF_MM:
        raise _misplaced(int(errors_mm.argmax()), errors_mm)


def check_repaired(
    frames: Sequence[Frame], grid: Grid, levels: FloatArray, shifts: FloatArray
) -> None:
    """Compare the corners of every slice with the place that a repair takes them from.

    Parameters
    ----------
    frames : sequence of Frame
        Sorted along their normal.
    grid : Grid
    levels : ndarray, shape (n,)
        Where along K each frame is said to lie.
    shifts : ndarray, shape (n, 2)
        Voxels along I and J by which each frame is said to be moved.

    Raises
    ------
    GeometryError
        Code ``SELF_CHECK``, when a corner is more than 0.1 mm (or 1 % of the slice distance) off.
    """
    errors_mm = corner_errors_mm(frames, grid, levels, shifts)
    if errors_mm.max() > max(_OFF_MM, _UNEVEN_FRACTION * grid.spacing_mm[2]):
        raise _misplaced(int(errors_mm.argmax()), errors_mm)


def corner_errors_mm(
    frames: Sequence[Frame], grid: Grid, levels: FloatArray, shifts: FloatArray
) -> FloatArray:
    """Largest distance of a corner of each frame from its place on `grid`; shape (n,), mm.

    Parameters
    ----------
    frames : sequence of Frame
    grid : Grid
    levels : ndarray, shape (n,)
        Where along K each frame is said to lie.
    shifts : ndarray, shape (n, 2)
        Voxels along I and J by which each frame is said to be moved.
    """
    columns, rows, _ = grid.shape
    corners = np.array([(c, r) for c in (0, columns - 1) for r in (0, rows - 1)], np.float64)
    planes = np.array([f.orientation for f in frames]).reshape(-1, 2, 3)
    spacing = np.array([f.pixel_spacing_mm for f in frames])[:, ::-1]
    offsets = np.einsum("cd,nd,ndx->ncx", corners, spacing, planes)
    expected = flip_lps_ras_points(_positions(frames)[:, None] + offsets)
    k = np.broadcast_to(levels[:, None, None], (len(frames), 4, 1))
    index = np.concatenate([corners + shifts[:, None], k], axis=2)
    errors_mm: FloatArray = np.linalg.norm(grid.to_world(index) - expected, axis=2).max(axis=1)
    return errors_mm


def _misplaced(worst: int, errors_mm: FloatArray) -> GeometryError:
    return GeometryError(
        f"slice {worst + 1} of {len(errors_mm)} would lie {errors_mm.max():.2f} mm from where its"
        " header says; the series is not one even stack",
        code="SELF_CHECK",
    )


def _positions(frames: Sequence[Frame]) -> FloatArray:
    return np.array([frame.position_mm for frame in frames], np.float64)


def _normal(frame: Frame) -> FloatArray:
    normal: FloatArray = np.cross(frame.orientation[:3], frame.orientation[3:])
    return normal


def check_orientation(frame: Frame) -> None:
    """Raise `GeometryError` when a frame's axes or spacing can place no pixel."""
    axes = np.array(frame.orientation).reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-2):
        raise GeometryError(
            f"ImageOrientationPatient {frame.orientation} of {frame.file.path.name} is not two"
            " unit vectors at a right angle; the header is wrong",
            code="BAD_ORIENTATION",
        )
    if min(frame.pixel_spacing_mm) <= 0:
        raise GeometryError(
            f"PixelSpacing {frame.pixel_spacing_mm} of {frame.file.path.name} is not positive;"
            " the header is wrong",
            code="BAD_SPACING",
        )


def _single_step(frame: Frame) -> tuple[FloatArray, list[str]]:
    """Step of a stack of one: along the normal, as long as the slice is thick."""
    length = frame.thickness_mm or 1.0
    source = "its SliceThickness" if frame.thickness_mm else "assumed"
    return _normal(frame) * length, [f"{SINGLE_SLICE}; its depth of {length:g} mm is {source}"]


def _even_step(frames: Sequence[Frame]) -> tuple[FloatArray, list[str]]:
    """The common step from slice to slice (LPS+ mm), or `GeometryError`."""
    positions, normal = _positions(frames), _normal(frames[0])
    count = len(frames)
    # over all slices: one gap has the rounding of two headers' decimal strings in it
    step = (positions[-1] - positions[0]) / (count - 1)
    expected = positions[0] + np.arange(count)[:, None] * step
    deviation_mm = np.linalg.norm(positions - expected, axis=1)
    spacing = float(step @ normal)
    if deviation_mm.max() > _OFF_MM:
        raise _uneven(np.diff(positions @ normal), float(deviation_mm.max()))
    cosine = spacing / float(np.linalg.norm(step) * np.linalg.norm(normal))
    tilt = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    if tilt <= _TILT_DEGREES:
        return step, []
    return step, [f"gantry tilt: the slices are sheared by {tilt:.1f} degrees; kept as they are"]


def _uneven(gaps: FloatArray, off_mm: float) -> GeometryError:
    """What is uneven: slices missing (gaps are whole multiples of the usual one) or irregular."""
    median_mm = float(np.median(gaps))
    widest = int(np.argmax(np.abs(gaps - median_mm)))
    gap = (
        f"slices {widest + 1} and {widest + 2} of {len(gaps) + 1} lie {gaps[widest]:.2f} mm apart"
        f" where {median_mm:.2f} mm is usual"
    )
    steps = np.round(gaps / median_mm)
    tolerance = max(_OFF_MM, 2 * _UNEVEN_FRACTION * median_mm)
    if steps.max() > 1 and steps.min() >= 1 and np.abs(gaps - steps * median_mm).max() < tolerance:
        missing = int((steps - 1).sum())
        return GeometryError(
            f"{gap}: {missing} slice(s) seem to be missing; export the whole series again,"
            " or allow --missing interpolate",
            code="MISSING_SLICE",
        )
    return GeometryError(
        f"{gap} (up to {off_mm:.2f} mm from an even stack): an unevenly spaced series cannot be"
        " read as one volume; export it with even spacing, or allow --irregular resample",
        code="IRREGULAR",
    )
