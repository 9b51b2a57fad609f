"""Read a structure set back, ring by ring, and compare it with the labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medseg.errors import WriteError
from medseg.volume import NativeSlices
from medseg.volume.conventions import flip_lps_ras_points
from medseg.volume.grid import FloatArray
from medseg.writing._native_labels import NativeLabels
from medseg.writing._selfcheck import check_read_back

if TYPE_CHECKING:
    from pydicom import Dataset

_OFF_PLANE = 0.01  # of the distance between slices


def check_structures(path: Path, labels: NativeLabels) -> None:
    """Raise `WriteError` (``SELF_CHECK``) unless contours hold the labels' pixels and no others."""
    from pydicom import dcmread

    voxels, first = np.zeros_like(labels.values), labels.slices.grids[0]
    for region in dcmread(path).ROIContourSequence:
        for contour in region.get("ContourSequence") or []:
            k, index = _slice_and_index(flip_lps_ras_points(_points(contour)), labels.slices)
            plane, ring = _spanned(voxels[:, :, k], index[:, :2])
            plane[_inside(ring, plane.shape)] += voxels.dtype.type(region.ReferencedROINumber)
    check_read_back(labels.values, voxels, first, first.affine)


def _points(contour: Dataset) -> FloatArray:
    """Contour Data, LPS+ mm; shape (N, 3)."""
    text = contour.get_item("ContourData").value
    if isinstance(text, bytes):
        text = text.decode("ascii").split("\\")
    points: FloatArray = np.array(text, np.float64).reshape(-1, 3)
    return points


def _slice_and_index(points_mm: FloatArray, slices: NativeSlices) -> tuple[int, FloatArray]:
    """The slice that all points of a ring (RAS+ mm) lie on, and their indices in it."""
    k = slices.nearest(points_mm.mean(axis=0))
    index = slices.grids[k].to_index(points_mm)
    if np.abs(index[:, 2]).max() > _OFF_PLANE:
        raise WriteError(
            "a contour came back off its slice, so the file was removed; write .nii.gz instead",
            code="SELF_CHECK",
        )
    return k, index


def _spanned(
    plane: npt.NDArray[np.unsignedinteger], ring: FloatArray
) -> tuple[npt.NDArray[np.unsignedinteger], FloatArray]:
    """The part of a plane (I, J) that a ring spans, and the ring in its indices."""
    first = np.clip(np.floor(ring.min(axis=0)), 0, None).astype(int)
    last = np.ceil(ring.max(axis=0)).astype(int) + 1
    return plane[first[0] : last[0], first[1] : last[1]], ring - first


def _inside(ring: FloatArray, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixels (I, J) whose centres a ring encloses: edges crossed on the way there are odd.

    References
    ----------
    The even-odd rule; edges are half open along J.
    """
    start, end = ring, np.roll(ring, -1, axis=0)
    down = (start[:, 1] > end[:, 1])[:, None]  # all upwards: a keyhole's two ways agree to the bit
    start, end = np.where(down, end, start), np.where(down, start, end)
    low = np.ceil(np.minimum(start[:, 1], end[:, 1])).astype(int)
    counts = np.ceil(np.maximum(start[:, 1], end[:, 1])).astype(int) - low
    edge = np.repeat(np.arange(len(ring)), counts)
    j = low[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    slope = (end - start)[edge]
    crossing = start[edge, 0] + (j - start[edge, 1]) / slope[:, 1] * slope[:, 0]
    crossed = np.zeros((shape[0] + 1, shape[1]), np.uint16)
    within = (j >= 0) & (j < shape[1])
    first = np.clip(np.ceil(crossing), 0, shape[0]).astype(int)
    np.add.at(crossed, (first[within], j[within]), 1)
    odd: npt.NDArray[np.bool_] = np.bitwise_xor.accumulate(crossed[:-1] & 1, axis=0) == 1
    return odd
