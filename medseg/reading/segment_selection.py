"""Which segments to take, and which wins where they overlap: chosen by the user, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec
import numpy as np

from medseg.errors import InputError, LabelError
from medseg.volume import LabelMap, LabelTable

Overlaps = Literal["refuse", "first", "last"]


class SegmentSelection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to take of a file whose segments may overlap.

    Parameters
    ----------
    segments : tuple of int or str
        Numbers or labels, the first being the first for `overlaps` too; empty takes all, in the
        order of the file.
    overlaps : {"refuse", "first", "last"}
        What a voxel of several segments becomes.

    Raises
    ------
    InputError
        When `overlaps` is none of these.
    """

    segments: tuple[int | str, ...] = ()
    overlaps: Overlaps = "refuse"

    def __post_init__(self) -> None:
        options = get_args(Overlaps)
        if self.overlaps not in options:
            raise InputError(f"overlaps is '{self.overlaps}'; known are {', '.join(options)}")

    def numbers(self, names: Mapping[int, str]) -> tuple[int, ...]:
        """Numbers of the segments to take.

        Parameters
        ----------
        names : mapping of int to str
            The label of each segment that there is, by its number.

        Returns
        -------
        tuple of int
            The first for `overlaps` is the first here.

        Raises
        ------
        LabelError
            Code ``UNKNOWN_LABEL``, when there is no such segment; those that there are are listed.
        """
        numbers = (_number(segment, names) for segment in self.segments or names)
        return tuple(dict.fromkeys(numbers))


EVERYTHING = SegmentSelection()
"""All segments, which must not overlap."""


def select(labels: LabelMap, choice: SegmentSelection) -> LabelMap:
    """Only the wanted labels of a map, whose numbers are their values.

    Raises
    ------
    LabelError
        When there is no such label.
    """
    if not choice.segments:
        return labels
    selected = choice.numbers({label.value: label.name for label in labels.table})
    rows = tuple(label for label in labels.table if label.value in selected)
    values = np.where(np.isin(labels.values, selected), labels.values, 0)
    return LabelMap(values, labels.grid, LabelTable(rows), labels.provenance)


def _number(segment: int | str, names: Mapping[int, str]) -> int:
    """The number of the segment with this label or number."""
    by_name = {name: number for number, name in names.items()}
    if segment in by_name:
        return by_name[str(segment)]
    text = str(segment).strip()
    if text.isdecimal() and int(text) in names:
        return int(text)
    listing = ", ".join(f"{number} ({name})" for number, name in names.items())
    raise LabelError(
        f"there is no segment or label '{segment}'; there are: {listing or 'none'}",
        code="UNKNOWN_LABEL",
    )
