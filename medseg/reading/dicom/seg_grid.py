"""The grid of a segmentation, some of whose slices may have been left out as empty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.errors import GeometryError
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.geometry import SAME_POSITION_MM, depths_mm, grid_of
from medseg.reading.dicom.headers import as_numbers
from medseg.volume import Grid
from medseg.volume.conventions import affine_from_dicom
from medseg.volume.grid import FloatArray

_UNEVEN_FRACTION = 0.01


def grid_of_sparse(frames: Sequence[Frame]) -> tuple[Grid, list[int]]:
    """Grid from the first to the last stored slice, and the K index of every frame.

    Parameters
    ----------
    frames : sequence of Frame
        Several may lie at one position (one per segment).

    Raises
    ------
    GeometryError
        When a frame has no position, orientations differ, or gaps are not whole multiples of one
        step.
    """
    _check_planes(frames)
    depths = depths_mm(frames)
    levels = _levels(depths)
    nearest = np.abs(depths[:, None] - levels).argmin(axis=1)
    first = {int(level): index for index, level in reversed(list(enumerate(nearest)))}
    distinct = [frames[first[level]] for level in range(len(levels))]
    if len(levels) == 1:
        return _single(distinct[0]), [0] * len(frames)
    counts = _counts(levels, distinct[0])
    if counts[-1] == len(levels) - 1:
        return grid_of(distinct)[0], [int(level) for level in nearest]
    ends = np.array([distinct[0].position_mm, distinct[-1].position_mm])
    grid = _grid(distinct[0], (ends[1] - ends[0]) / counts[-1], int(counts[-1]) + 1)
    return grid, [int(counts[level]) for level in nearest]


def _check_planes(frames: Sequence[Frame]) -> None:
    for frame in frames:
        if not frame.has_geometry:
            raise GeometryError(
                f"frame {frame.number + 1} has no position in the patient", code="NO_GEOMETRY"
            )
        if np.abs(np.subtract(frame.orientation, frames[0].orientation)).max() > 1e-3:
            raise GeometryError("its frames have different orientations", code="IRREGULAR")


def _levels(depths: FloatArray) -> FloatArray:
    """Distinct depths, ascending, mm."""
    ordered = np.sort(depths)
    new = np.diff(ordered, prepend=-np.inf) > SAME_POSITION_MM
    distinct: FloatArray = ordered[new]
    return distinct


def _counts(levels: FloatArray, frame: Frame) -> FloatArray:
    """Steps from the first level to each, for the stated spacing if it fits, else the least gap."""
    gaps = np.diff(levels)
    stated = _stated_depth(frame, "SpacingBetweenSlices")
    for step in [*stated, float(gaps.min())]:
        steps = np.round(gaps / step)
        if steps.min() >= 1 and np.abs(gaps - steps * step).max() <= _UNEVEN_FRACTION * step + 0.05:
            return np.concatenate([[0.0], np.cumsum(steps)])
    raise GeometryError(
        f"its slices are unevenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm)",
        code="IRREGULAR",
    )


def _stated_depth(frame: Frame, *keywords: str) -> list[float]:
    """Positive lengths that the frame's PixelMeasures state, in the order of the keywords."""
    header = frame.file.header
    groups = (
        *(header.get("SharedFunctionalGroupsSequence") or []),
        header.PerFrameFunctionalGroupsSequence[frame.number],
    )
    items = [item for group in groups for item in group.get("PixelMeasuresSequence") or []]
    values = [as_numbers(item, key, 1) for key in keywords for item in items]
    return [numbers[0] for numbers in values if numbers and numbers[0] > 0]


def _single(frame: Frame) -> Grid:
    """A grid of one slice, as deep as the file states, else 1 mm."""
    depth = [*_stated_depth(frame, "SpacingBetweenSlices", "SliceThickness"), 1.0][0]
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return _grid(frame, normal * depth, 1)


def _grid(frame: Frame, step_mm: FloatArray, slices: int) -> Grid:
    affine = affine_from_dicom(
        frame.orientation, frame.pixel_spacing_mm, frame.position_mm, step_mm
    )
    return Grid((frame.file.count("Columns"), frame.file.count("Rows"), slices), affine)
