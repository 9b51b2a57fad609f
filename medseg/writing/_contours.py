"""Outlines of structures, slice by slice: closed rings halfway between pixels in and out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from medseg.writing._native_labels import NativeLabels

Ring = npt.NDArray[np.float64]
"""A closed polygon, its first point not repeated; shape (N, 2) or (N, 3)."""


def outlines(labels: NativeLabels, value: int) -> Iterator[tuple[int, Ring]]:
    """Rings around every piece of one structure.

    A ring passes halfway between the centres of neighbouring pixels of which one belongs to the
    structure, so that it holds exactly the centres of the structure's pixels. A hole hangs on the
    ring around it by a keyhole: a path there and back that encloses nothing.

    Parameters
    ----------
    labels : NativeLabels
        Whose slices are outlined, one by one.
    value : int

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

    first, last = _extent(mask)
    padded = np.pad(mask[first[0] : last[0], first[1] : last[1]], 1)
    generator = contour_generator(z=padded.T.astype(np.float64), fill_type=FillType.OuterOffset)
    pieces, offsets = cast(Any, generator.filled(0.5, 2.0))
    for points, starts in zip(pieces, offsets, strict=True):
        rings = [
            _without_straight_points(points[start : end - 1])
            for start, end in itertools.pairwise(starts)
        ]
        yield _keyholed(rings) + (first - 1)


def _extent(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First and one after the last index of the mask's pixels along I and J."""
    held = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    first = np.array([one[0] for one in held])
    return first, np.array([one[-1] + 1 for one in held])


def _without_straight_points(ring: Ring) -> Ring:
    """The ring without points on the straight line between their neighbours."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    bends = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    corners: Ring = ring[bends]
    return corners


def _keyholed(rings: Sequence[Ring]) -> Ring:
    """One ring from an outer one and its holes, each hung on the nearest point so far."""
    whole = rings[0]
    for hole in rings[1:]:
        start = int(hole[:, 0].argmin())
        turned = np.roll(hole, -start, axis=0)
        near = int(((whole - turned[0]) ** 2).sum(axis=1).argmin())
        whole = np.concatenate([whole[: near + 1], turned, turned[:1], whole[near:]])
    return whole
