"""Outlines of structures, slice by slice: closed rings halfway between pixels in and out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from medseg.volume.bounding_box import bounding_box
from medseg.writing._native_labels import NativeLabels

Ring = npt.NDArray[np.float64]
"""A closed polygon, its first point not repeated; shape (N, 2) or (N, 3)."""


def outlines(labels: NativeLabels, value: int) -> Iterator[tuple[int, Ring]]:
    """Rings around every piece of one structure.

    A ring passes halfway between the centres of neighbouring pixels of which one belongs to the
    structure, so that it holds exactly the centres of the structure's pixels. A hole hangs on the
    ring around it by a keyhole: a path there and back that encloses nothing.

    Yields
    ------
    k : int
        Index of the slice.
    ring : ndarray, shape (N, 2)
        Indices along I and J, at least four points.

    References
    ----------
    DICOM PS3.3 C.8.8.6.3, inner and outer contours.
    """
    for k in range(labels.values.shape[2]):
        mask = labels.values[:, :, k] == value
        if mask.any():
            yield from ((k, ring) for ring in _rings(mask))


def _rings(mask: npt.NDArray[np.bool_]) -> Iterator[Ring]:
    """Rings around the pieces of a mask (I, J), holes joined to them."""
    from contourpy import FillType, contour_generator

    box = bounding_box(mask)
    assert box is not None
    first = np.array([span.start for span in box])
    padded = np.pad(mask[box], 1)
    generator = contour_generator(z=padded.T.astype(np.float64), fill_type=FillType.OuterOffset)
    pieces, offsets = cast(Any, generator.filled(0.5, 2.0))
    for points, starts in zip(pieces, offsets, strict=True):
        rings = [
            _without_straight_points(points[start : end - 1])
            for start, end in itertools.pairwise(starts)
        ]
        yield _keyholed(rings) + (first - 1)


def _without_straight_points(ring: Ring) -> Ring:
    """The ring without points on the straight line between their neighbours."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    bends = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    corners: Ring = ring[bends]
    return corners


def _keyholed(rings: Sequence[Ring]) -> Ring:
    """One ring from an outer one and its holes, each hung on the nearest point so far."""
    outline = rings[0]
    for hole in rings[1:]:
        start = int(hole[:, 0].argmin())
        rotated = np.roll(hole, -start, axis=0)
        nearest = int(((outline - rotated[0]) ** 2).sum(axis=1).argmin())
        outline = np.concatenate([outline[: nearest + 1], rotated, rotated[:1], outline[nearest:]])
    return outline
