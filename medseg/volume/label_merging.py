"""New labels into a label map that holds others: names find their values, a rule decides voxels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.volume.label_table import LabelTable

Rule = Literal["overwrite", "only_empty", "keep_others", "keep_edits"]
Values = npt.NDArray[Any]


class MergedTable(NamedTuple):
    """A table that holds the labels of two.

    Parameters
    ----------
    table : LabelTable
        All labels of the first, then those of the second that it has not.
    values : dict of int to int
        From values of the second table to values of `table`.
    """

    table: LabelTable
    values: dict[int, int]


def merge_tables(table: LabelTable, other: LabelTable) -> MergedTable:
    """A table that holds the labels of two, by name; no value of the first changes its meaning.

    Parameters
    ----------
    table : LabelTable
        Of the map that is there; it must name every value in use.
    other : LabelTable
        Of the map to come.

    Returns
    -------
    MergedTable
        A label that is new to `table` keeps its value when that is free, else it gets the next
        free one.
    """
    value_of = {label.name: label.value for label in table}
    used = set(table.values)
    new = [label for label in other if label.name not in value_of]
    for label in sorted(new, key=lambda label: label.value in used):
        value_of[label.name] = _free(label.value, value_of.values())
    rows = [*table, *(msgspec.structs.replace(label, value=value_of[label.name]) for label in new)]
    rows.sort(key=lambda row: row.value)
    return MergedTable(
        LabelTable(tuple(rows)), {label.value: value_of[label.name] for label in other}
    )


def renumber(labels: Values, values: dict[int, int]) -> Values:
    """Labels with other values.

    Parameters
    ----------
    labels : ndarray of unsigned int
    values : dict of int to int
        From each of their values to the new one; 0 stays.
    """
    lookup = np.zeros(max(values, default=0) + 1, np.uint16)
    for old, new in values.items():
        lookup[old] = new
    renumbered: Values = lookup[labels]
    return renumbered


def merge_values(
    current: Values,
    incoming: Values,
    *,
    rule: Rule,
    own: Iterable[int],
    locked: Iterable[int] = (),
    edited: Values | None = None,
) -> Values:
    """Labels after new ones were merged in; shape and type as `current`.

    Parameters
    ----------
    current : ndarray of int
    incoming : ndarray of int, same shape
        What is new, in the same values.
    rule : {"overwrite", "only_empty", "keep_others", "keep_edits"}
        ``overwrite``: found labels go everywhere, and the own labels go where they are no longer
        found. ``only_empty``: only where nothing was. ``keep_others``: as overwrite, but never over
        a label that is not an own one. ``keep_edits``: as overwrite, but not where it was edited.
    own : iterable of int
        Values of the labels that were looked for.
    locked : iterable of int
        Values that neither lose nor gain a voxel.
    edited : ndarray of bool, optional
        Voxels that ``keep_edits`` leaves alone.
    """
    protected = list(locked)
    incoming = np.where(np.isin(incoming, protected), 0, incoming) if protected else incoming
    if rule == "only_empty":
        merged = np.where(current == 0, incoming, current)
    else:
        foreign = (current != 0) & ~np.isin(current, list(own))
        merged = np.where(foreign & ((incoming == 0) | (rule == "keep_others")), current, incoming)
    if rule == "keep_edits" and edited is not None:
        merged = np.where(edited, current, merged)
    if protected:
        merged = np.where(np.isin(current, protected), current, merged)
    return merged.astype(current.dtype)


def _free(preferred: int, used: Iterable[int]) -> int:
    """`preferred`, or the smallest value that is not taken."""
    values = set(used)
    return next(
        value for value in itertools.chain((preferred,), itertools.count(1)) if value not in values
    )
