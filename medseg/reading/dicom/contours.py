"""Regions that closed contours enclose, drawn on slices; a contour costs its own box."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.reading.dicom.polygons import filled
from medseg.reading.dicom.segment_canvas import SegmentCanvas
from medseg.reading.segment_selection import Overlaps
from medseg.runtime.progress import Progress
from medseg.volume import Grid, Label
from medseg.volume.grid import FloatArray

_OFF_SLICE = 0.1  # of the distance between slices


@dataclass(frozen=True, eq=False)
class Region:
    """A region of contours.

    Parameters
    ----------
    label : Label
        What it is.
    contours : tuple of ndarray, shape (N, 3)
        Closed, in RAS+ mm.
    frame_of_reference_uid : str
        In which these count; empty where that is not said.
    """

    label: Label
    contours: tuple[FloatArray, ...]
    frame_of_reference_uid: str = ""


def drawn(
    regions: Sequence[Region],
    grid: Grid,
    overlaps: Overlaps,
    *,
    cropped: bool = False,
    progress: Progress,
) -> tuple[npt.NDArray[Any], list[str]]:
    """Label values (I, J, K) of regions, and notes about what did not fit.

    Parameters
    ----------
    regions : sequence of Region
    grid : Grid
        Its K axis runs across the planes of the contours.
    overlaps : {"refuse", "first", "last"}
    cropped : bool, default False
        Whether contours beyond the first and last slice are left out instead of refused.
    progress : Progress
        Called for each region.

    Raises
    ------
    GeometryError
        Code ``OUTSIDE_IMAGE`` or ``OFF_SLICE``, when contours do not lie on slices.
    LabelError
        Code ``OVERLAP``, when regions overlap and `overlaps` refuses that.
    """
    canvas = SegmentCanvas(grid.shape, [region.label for region in regions], overlaps)
    outside = 0
    for done, region in enumerate(regions):
        progress(done, len(regions), "drawing contours")
        on_slice = defaultdict(list)
        for contour in region.contours:
            index = grid.to_index(contour)
            k = _slice(index)
            if 0 <= k < grid.shape[2]:
                on_slice[k].append(index[:, :2])
            else:
                outside += 1
        for k, rings in on_slice.items():
            first, last = _box(rings, grid.shape[:2])
            inside = filled([ring - first for ring in rings], tuple((last - first).tolist()))
            window = (slice(first[0], last[0]), slice(first[1], last[1]), k)
            canvas.draw(window, inside * np.uint16(region.label.value))
    if outside and not cropped:
        raise GeometryError(
            f"{outside} of its contours lie beyond the first or last slice of the images; add the"
            " slices that are missing",
            code="OUTSIDE_IMAGE",
        )
    values, overlap_notes = canvas.result()
    notes = [f"{outside} contour(s) beyond the scan's slices were left out"] if outside else []
    return values, [*notes, *overlap_notes]


def _box(
    rings: Sequence[FloatArray], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First pixel along I and J, and the one after the last, of what rings can hold of a slice."""
    points = np.concatenate(rings)
    first = np.clip(np.floor(points.min(axis=0)), 0, np.subtract(shape, 1)).astype(np.intp)
    last = np.clip(np.ceil(points.max(axis=0)) + 1, first + 1, shape).astype(np.intp)
    return first, last


def _slice(index: FloatArray) -> int:
    """The K index that all points of a contour share."""
    k = round(float(index[:, 2].mean()))
    distance = float(np.abs(index[:, 2] - k).max())
    if distance > _OFF_SLICE:
        raise GeometryError(
            f"a contour lies {distance:.2f} slices away from the slice nearest to it; give the scan"
            " that it was drawn on",
            code="OFF_SLICE",
        )
    return k
