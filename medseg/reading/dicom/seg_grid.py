"""The grid of a segmentation, some of whose slices may have been left out as empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medseg.errors import GeometryError
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.geometry import (
    SAME_POSITION_MM,
    check_orientation,
    corner_errors_mm,
    depths_mm,
)
from medseg.reading.dicom.headers import as_items, as_numbers, as_text
from medseg.volume import Grid
from medseg.volume.conventions import affine_from_dicom, flip_lps_ras_points
from medseg.volume.grid import FloatArray

_UNEVEN_FRACTION = 0.01
_OFF_GRID_MM = 0.1
_PARALLEL = 0.999  # cosine


def grid_of_sparse(
    frames: Sequence[Frame], labelled: Grid | None = None
) -> tuple[Grid, list[int], list[str]]:
    """Grid from the first to the last stored slice.

    Parameters
    ----------
    frames : sequence of Frame
        Several may lie at one position (one per segment).
    labelled : Grid, optional
        Of the scan that was labelled, which knows best how far apart the slices are.

    Returns
    -------
    grid : Grid
    slices : list of int
        The K index of every frame.
    notes : list of str
        Where the depth of the slices comes from, unless the file states their distance.

    Raises
    ------
    GeometryError
        When a frame has no position, when slices were left out and neither the file nor the scan
        says how far apart they are, or when a frame lies off the grid of the others: its corners,
        spacing or turn (code ``OFF_GRID``).
    """
    _check_places(frames)
    depths = depths_mm(frames)
    levels = _levels(depths)
    nearest = np.abs(depths[:, None] - levels).argmin(axis=1)
    first = {int(level): index for index, level in reversed(list(enumerate(nearest)))}
    distinct = [frames[first[level]] for level in range(len(levels))]
    if len(levels) == 1:
        counts: FloatArray = np.zeros(1)
        grid, notes = _single(distinct[0], labelled)
    else:
        counts, notes = _counts(levels, distinct, labelled)
        ends = np.array([distinct[0].position_mm, distinct[-1].position_mm])
        grid = _grid(distinct[0], (ends[1] - ends[0]) / counts[-1], int(counts[-1]) + 1)
    slices = [int(counts[level]) for level in nearest]
    _check_frames(frames, grid, slices)
    return grid, slices, notes


def _check_places(frames: Sequence[Frame]) -> None:
    for frame in frames:
        if not frame.has_geometry:
            raise GeometryError(
                f"frame {frame.number + 1} has no position in the patient", code="NO_GEOMETRY"
            )
    check_orientation(frames[0])


def _check_frames(frames: Sequence[Frame], grid: Grid, slices: Sequence[int]) -> None:
    """Raise `GeometryError` when the corners of a frame are not where the grid has them."""
    unmoved = np.zeros((len(frames), 2))
    errors_mm = corner_errors_mm(frames, grid, np.asarray(slices, np.float64), unmoved)
    worst = int(errors_mm.argmax())
    if errors_mm[worst] > max(_OFF_GRID_MM, _UNEVEN_FRACTION * grid.spacing_mm[2]):
        raise GeometryError(
            f"frame {frames[worst].number + 1} of {len(frames)} lies {errors_mm[worst]:.2f} mm off"
            " the grid of the first one (its corner, spacing or turn is another), and a label map"
            " has one grid; export it again with all frames on one grid",
            code="OFF_GRID",
        )


def _levels(depths: FloatArray) -> FloatArray:
    """Distinct depths, ascending, mm."""
    ordered = np.sort(depths)
    new = np.diff(ordered, prepend=-np.inf) > SAME_POSITION_MM
    distinct: FloatArray = ordered[new]
    return distinct


def _counts(
    levels: FloatArray, distinct: Sequence[Frame], labelled: Grid | None
) -> tuple[FloatArray, list[str]]:
    """Steps from the first level to each, and a note; never guessed from the gaps alone."""
    gaps = np.diff(levels)
    for step, source in _possible_steps(distinct, labelled, float(levels[-1] - levels[0])):
        steps = np.round(gaps / step)
        if steps.min() >= 1 and np.abs(gaps - steps * step).max() <= _UNEVEN_FRACTION * step + 0.05:
            note = f"its slices are taken as {step:g} mm apart, which {source}"
            is_noted = source and steps.min() > 1
            return np.concatenate([[0.0], np.cumsum(steps)]), [note] if is_noted else []
    low, high = gaps.min(), gaps.max()
    if high - low > 2 * _UNEVEN_FRACTION * low + 0.05:
        raise GeometryError(
            f"its slices are unevenly spaced ({low:.2f} to {high:.2f} mm)", code="IRREGULAR"
        )
    raise GeometryError(
        f"its slices lie {low:.2f} mm apart, and it does not say whether slices between them were"
        " left out as empty; give the scan that was labelled with --like",
        code="UNKNOWN_DEPTH",
    )


def _possible_steps(
    distinct: Sequence[Frame], labelled: Grid | None, extent_mm: float
) -> Iterator[tuple[float, str]]:
    """Distances from slice to slice (mm), the surest first, and of unsure ones where they stand."""
    frame = distinct[0]
    if labelled is not None:
        yield from ((step, "") for step in _step_along(labelled, frame))
    yield from ((step, "") for step in _stated_depth(frame, "SpacingBetweenSlices"))
    thickness = _stated_depth(frame, "SliceThickness")
    possible = [(step, "is their SliceThickness") for step in thickness]
    if images := _images_between(distinct):
        possible.append((extent_mm / images, "follows from the list of images it refers to"))
    yield from sorted(possible)  # slices may be thicker than they are apart, and lists incomplete


def _step_along(grid: Grid, frame: Frame) -> list[float]:
    """How far apart the slices of `grid` are across the plane of a frame, mm; [] if they turn."""
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    steps = np.abs(flip_lps_ras_points(normal) @ grid.affine[:3, :3])
    across = steps / np.asarray(grid.spacing_mm)
    axis = int(across.argmax())
    return [float(steps[axis])] if across[axis] > _PARALLEL else []


def _images_between(distinct: Sequence[Frame]) -> int:
    """How many images the list of those that were labelled goes on from the first to the last.

    0 where the file does not say, and for two slices, which any order of the list would fit.
    """
    listed = [
        as_text(image, "ReferencedSOPInstanceUID")
        for series in as_items(distinct[0].file.header, "ReferencedSeriesSequence")
        for image in as_items(series, "ReferencedInstanceSequence")
    ]
    sources = [_source_image(frame) for frame in distinct]
    if len(distinct) < 3 or not set(sources) <= set(listed):
        return 0
    return abs(listed.index(sources[-1]) - listed.index(sources[0]))


def _source_image(frame: Frame) -> str:
    """SOPInstanceUID of the image that a frame was drawn on; empty where it does not say."""
    group = as_items(frame.file.header, "PerFrameFunctionalGroupsSequence")[frame.number]
    for derivation in as_items(group, "DerivationImageSequence"):
        for image in as_items(derivation, "SourceImageSequence"):
            return as_text(image, "ReferencedSOPInstanceUID")
    return ""


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


def _single(frame: Frame, labelled: Grid | None) -> tuple[Grid, list[str]]:
    """A grid of one slice, as deep as the scan or the file states, else 1 mm, with a note."""
    stated = _stated_depth(frame, "SpacingBetweenSlices", "SliceThickness")
    depths = [*(_step_along(labelled, frame) if labelled is not None else []), *stated]
    notes = [] if depths else ["a single slice; its depth of 1 mm is assumed"]
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return _grid(frame, normal * [*depths, 1.0][0], 1), notes


def _grid(frame: Frame, step_mm: FloatArray, slices: int) -> Grid:
    affine = affine_from_dicom(
        frame.orientation, frame.pixel_spacing_mm, frame.position_mm, step_mm
    )
    return Grid((frame.file.count("Columns"), frame.file.count("Rows"), slices), affine)
