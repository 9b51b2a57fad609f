"""Segments drawn into one label map; a voxel that several claim is refused or decided by a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError
from medseg.reading.segment_selection import Overlaps
from medseg.volume import Label

_MOST_PAIRS = 10


class SegmentCanvas:
    """Label values in the making.

    Parameters
    ----------
    shape : tuple of int
        Of the values, in whichever order of axes the caller keeps.
    labels : sequence of Label
        What may be drawn; the first comes first for `overlaps`.
    overlaps : {"refuse", "first", "last"}
        What a voxel of several labels becomes.
    """

    def __init__(self, shape: tuple[int, ...], labels: Sequence[Label], overlaps: Overlaps) -> None:
        self._values = np.zeros(shape, np.uint16)
        self._shared: npt.NDArray[np.bool_] = np.zeros(shape, bool)
        self._names = {label.value: label.name for label in labels}
        self._overlaps = overlaps
        self._pairs: set[tuple[int, int]] = set()
        self._strength = np.zeros(65536, np.uint16)
        weakest_first = labels if overlaps == "last" else labels[::-1]
        for strength, label in enumerate(weakest_first, start=1):
            self._strength[label.value] = strength

    def draw(self, index: int | tuple[slice, slice, int], values: npt.NDArray[np.uint16]) -> None:
        """Put the labels of one plane into it.

        Parameters
        ----------
        index : int or (slice, slice, int)
            Index of the plane along the first axis, or a window of one along the last.
        values : ndarray of uint16
            Label values; 0 leaves what is there.
        """
        plane = self._values[index]
        contested = (values > 0) & (plane > 0) & (plane != values)
        if contested.any():
            pairs = np.unique(np.sort([plane[contested], values[contested]], axis=0), axis=1)
            self._pairs |= set(zip(*pairs.tolist(), strict=True))
            self._shared[index] |= contested
        stronger = self._strength[values] > self._strength[plane]
        plane[stronger] = values[stronger]

    def result(self) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
        """The label map, and notes about overlaps that were decided.

        Raises
        ------
        LabelError
            Code ``OVERLAP``, with the pairs of labels that overlap, unless a rule decides.
        """
        if self._pairs and self._overlaps == "refuse":
            raise LabelError(
                f"segments overlap ({self._listed()}), and a voxel of a label map holds one label"
                " only: take some of them with --segments, or let the first or last of them win"
                " with --overlaps",
                code="OVERLAP",
            )
        note = (
            f"segments overlap ({self._listed()}): {self._shared.sum()} voxels hold the"
            f" {self._overlaps} of theirs only"
        )
        fits = self._values.max(initial=0) < 256
        values = self._values.astype(np.uint8) if fits else self._values
        return values, (note,) if self._pairs else ()

    def _listed(self) -> str:
        """The pairs that overlap, by name."""
        pairs = sorted(self._pairs)
        listed = [
            f"{self._names[first]} and {self._names[second]}"
            for first, second in pairs[:_MOST_PAIRS]
        ]
        rest = len(pairs) - len(listed)
        return "; ".join(listed) + (f"; {rest} more pairs" if rest else "")
