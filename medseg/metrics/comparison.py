"""Two label maps of one scan, structure by structure: scores, volumes, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.metrics.ignore import leave_out_ignored
from medseg.metrics.overlap import check_same_grid, overlap
from medseg.metrics.surface import SurfaceDistance, surface_distances
from medseg.runtime.progress import Progress, silent
from medseg.volume import Grid, Label, LabelMap, LabelTable

Box = tuple[slice, slice, slice]

DIFFERENCES = LabelTable(
    (
        Label(value=1, name="only in A", color=(230, 159, 0)),
        Label(value=2, name="only in B", color=(86, 180, 233)),
        Label(value=3, name="other label", color=(204, 121, 167)),
    )
)
"""What :func:`differences` marks, in colours that colour-blind people tell apart."""


class SliceDifference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The slice across one voxel axis on which two maps of a structure differ most.

    Parameters
    ----------
    index : int
        Of the slice along its axis.
    area_mm2 : float
        Area that only one of the maps holds; 0 where they agree everywhere.
    """

    index: int
    area_mm2: float


class StructureComparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far two maps agree about one structure.

    Parameters
    ----------
    name : str
    value : int
        That stands for it in map A's table.
    dice, hd95_mm, nsd : float or None
    volume_ml, reference_volume_ml : float
        In map A and in map B.
    worst : tuple of SliceDifference
        Of the slices across I, across J and across K.
    """

    name: str
    value: int
    dice: float | None
    hd95_mm: float | None
    nsd: float | None
    volume_ml: float
    reference_volume_ml: float
    worst: tuple[SliceDifference, SliceDifference, SliceDifference]


def compare(
    first: LabelMap, second: LabelMap, *, tolerance_mm: float = 1.0, progress: Progress = silent
) -> tuple[StructureComparison, ...]:
    """Compare two label maps of a scan; B is the reference.

    Parameters
    ----------
    first, second : LabelMap
        Maps A and B, on the same grid. Structures are matched as :func:`matched` says.
    tolerance_mm : float, default 1.0
        Distance within which surfaces count as equal for the normalised surface Dice.
    progress : Progress, optional
        Called for each structure; may raise `Cancelled`.

    Returns
    -------
    tuple of StructureComparison
        One for each structure that either table names.

    Raises
    ------
    GeometryError
        When the two maps do not lie on the same grid.
    """
    check_same_grid(first, second)
    prediction, reference = leave_out_ignored(*matched(first, second))
    shared = overlap(prediction, reference)
    rows = []
    for done, (label, box) in enumerate(_boxes(prediction, reference)):
        progress(done, len(reference.table), f"measuring {label.name}")
        surface, worst = _within(prediction, reference, label, box, tolerance_mm)
        scores = shared[label.name]
        rows.append(
            StructureComparison(
                name=label.name,
                value=label.value,
                dice=scores.dice,
                hd95_mm=surface.hd95_mm,
                nsd=surface.nsd,
                volume_ml=scores.volume_ml,
                reference_volume_ml=scores.reference_volume_ml,
                worst=worst,
            )
        )
    return tuple(rows)


def matched(first: LabelMap, second: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Both maps under one table, so that equal values mean equal structures.

    Parameters
    ----------
    first, second : LabelMap
        Structures of the same name, whatever its capitals, become one. Tables that share no name
        are matched by value.

    Returns
    -------
    tuple of LabelMap
        `first` keeps its values; structures that only `second` has get free ones.
    """
    by_name = {_normalised_name(label.name): label for label in first.table}
    if not by_name.keys() & {_normalised_name(label.name) for label in second.table}:
        by_name = {}
    by_value = {} if by_name else {label.value: label for label in first.table}
    rows = {label.value: label for label in first.table}
    value_of = {0: 0}
    for label in second.table:
        match = by_name.get(_normalised_name(label.name)) or by_value.get(label.value)
        target = match or _at_free_value(label, rows)
        value_of[label.value] = target.value
        rows[target.value] = target
    table = LabelTable(tuple(rows[value] for value in sorted(rows)))
    lookup = np.zeros(max(value_of) + 1, np.uint16)
    lookup[list(value_of)] = list(value_of.values())
    values = lookup[np.asarray(second.values)]
    return replace(first, table=table), replace(second, values=values, table=table)


def differences(first: LabelMap, second: LabelMap) -> LabelMap:
    """Where two label maps differ, and how.

    Parameters
    ----------
    first, second : LabelMap
        Maps A and B, on the same grid, matched as :func:`matched` says.

    Returns
    -------
    LabelMap
        On that grid, with the table `DIFFERENCES`. Voxels that B labels "ignore" do not differ.

    Raises
    ------
    GeometryError
        When the two maps do not lie on the same grid.
    """
    check_same_grid(first, second)
    prediction, reference = leave_out_ignored(*matched(first, second))
    values_a, values_b = prediction.values, reference.values
    marks = np.zeros(values_a.shape, np.uint8)
    marks[(values_a > 0) & (values_b == 0)] = 1
    marks[(values_a == 0) & (values_b > 0)] = 2
    marks[(values_a > 0) & (values_b > 0) & (values_a != values_b)] = 3
    return LabelMap(marks, first.grid, DIFFERENCES, first.provenance)


def _normalised_name(name: str) -> str:
    return " ".join(name.casefold().split())


def _at_free_value(label: Label, rows: dict[int, Label]) -> Label:
    """The label at its own value, or behind all others when that is taken."""
    taken = label.value in rows
    return msgspec.structs.replace(label, value=max(rows) + 1) if taken else label


def _boxes(first: LabelMap, second: LabelMap) -> Iterator[tuple[Label, Box | None]]:
    """Each label with the box around it in both maps; None where neither has it."""
    largest = max(second.table.values, default=0)
    objects = [ndimage.find_objects(np.asarray(item.values), largest) for item in (first, second)]
    for label in second.table:
        boxes = [item[label.value - 1] for item in objects if item[label.value - 1] is not None]
        yield label, _union(boxes) if boxes else None


def _union(boxes: list[tuple[slice, ...]]) -> Box:
    i, j, k = (
        slice(min(span.start for span in axis), max(span.stop for span in axis))
        for axis in zip(*boxes, strict=True)
    )
    return i, j, k


def _within(
    first: LabelMap, second: LabelMap, label: Label, box: Box | None, tolerance_mm: float
) -> tuple[SurfaceDistance, tuple[SliceDifference, SliceDifference, SliceDifference]]:
    """Surface distances and worst slices of one label, looked for in its box alone."""
    if box is None:
        agreement = SliceDifference(index=0, area_mm2=0.0)
        nothing = SurfaceDistance(hd95_mm=None, assd_mm=None, nsd=None)
        return nothing, (agreement, agreement, agreement)
    prediction, reference = (_isolated(labels, label, box) for labels in (first, second))
    surface = surface_distances(prediction, reference, tolerance_mm=tolerance_mm)[label.name]
    differing = prediction.values != reference.values
    i, j, k = (_worst(differing, box, axis, first.grid) for axis in range(3))
    return surface, (i, j, k)


def _isolated(labels: LabelMap, label: Label, box: Box) -> LabelMap:
    """One label in a box of its map."""
    affine = labels.grid.affine.copy()
    affine[:3, 3] = labels.grid.to_world([span.start for span in box])
    inside = (labels.values[box] == label.value).astype(np.uint8)
    isolated = msgspec.structs.replace(label, value=1)
    return LabelMap(inside, Grid(inside.shape, affine), LabelTable((isolated,)))


def _worst(differing: npt.NDArray[Any], box: Box, axis: int, grid: Grid) -> SliceDifference:
    """The slice across `axis` with most differing voxels, the first among equals."""
    others = tuple(other for other in range(3) if other != axis)
    counts = differing.sum(axis=others)
    index = int(counts.argmax())
    edges = grid.affine[:3, others]
    voxel_mm2 = float(np.linalg.norm(np.cross(edges[:, 0], edges[:, 1])))
    return SliceDifference(index=index + box[axis].start, area_mm2=int(counts[index]) * voxel_mm2)
