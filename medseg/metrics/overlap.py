"""How far two label maps agree, label by label: Dice and intersection over union."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.metrics.ignore import leave_out_ignored
from medseg.volume import LabelMap, LabelTable


class LabelOverlap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agreement of one label between a prediction and the truth.

    Parameters
    ----------
    dice : float or None
        Twice the shared volume over the sum of both, 0 to 1; None when both are empty.
    iou : float or None
        Shared volume over the volume of the union, 0 to 1; None when both are empty.
    volume_ml : float
    reference_volume_ml : float
    """

    dice: float | None
    iou: float | None
    volume_ml: float
    reference_volume_ml: float


def overlap(prediction: LabelMap, truth: LabelMap) -> dict[str, LabelOverlap]:
    """Overlap of every label in the truth's table.

    Labels are matched by value. Predicted values that the truth's table does not know count as
    background. Voxels that the truth labels "ignore" do not count in any number.

    Parameters
    ----------
    prediction : LabelMap
        What a model (or another reader) drew.
    truth : LabelMap
        The reference, on the same grid.

    Returns
    -------
    dict of str to LabelOverlap
        One entry per structure of `truth.table`, by name, in the order of their values.

    Raises
    ------
    GeometryError
        When the two maps do not lie on the same grid.

    Notes
    -----
    Dice (1945) and Jaccard (1901), both taken from one joint histogram of the two maps.
    """
    check_same_grid(prediction, truth)
    prediction, truth = leave_out_ignored(prediction, truth)
    joint = _joint_histogram(prediction.values, truth.values, truth.table)
    ml_per_voxel = truth.grid.voxel_volume_mm3 / 1000.0
    shared = joint.diagonal()
    predicted, true = joint.sum(axis=1), joint.sum(axis=0)
    return {
        label.name: _of_counts(int(shared[row]), int(predicted[row]), int(true[row]), ml_per_voxel)
        for row, label in enumerate(truth.table, start=1)
    }


def _of_counts(shared: int, predicted: int, true: int, ml_per_voxel: float) -> LabelOverlap:
    """Scores from voxel counts."""
    total = predicted + true
    return LabelOverlap(
        dice=2 * shared / total if total else None,
        iou=shared / (total - shared) if total else None,
        volume_ml=predicted * ml_per_voxel,
        reference_volume_ml=true * ml_per_voxel,
    )


def _joint_histogram(
    predicted: npt.NDArray[Any], true: npt.NDArray[Any], table: LabelTable
) -> npt.NDArray[np.int64]:
    """Voxels per (predicted row, true row), row 0 being all that is not in `table`."""
    rows = len(table) + 1
    row_of_value = np.zeros(65536, np.int64)
    row_of_value[list(table.values)] = np.arange(1, rows)
    joint = np.zeros(rows * rows, np.int64)
    for predicted_slab, true_slab in _slabs(predicted, true):
        pairs = row_of_value[predicted_slab] * rows + row_of_value[true_slab]
        joint += np.bincount(pairs.ravel(), minlength=rows * rows)
    return joint.reshape(rows, rows)


def _slabs(
    first: npt.NDArray[Any], second: npt.NDArray[Any]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Matching planes along the axis on which `first` varies slowest (little memory at a time)."""
    axis = int(np.argmax(first.strides))
    yield from zip(np.moveaxis(first, axis, 0), np.moveaxis(second, axis, 0), strict=True)


def check_same_grid(prediction: LabelMap, truth: LabelMap) -> None:
    """Raise `GeometryError`, telling the difference, unless both grids match."""
    if not prediction.grid.matches(truth.grid):
        raise GeometryError(
            "prediction and truth lie on different grids:"
            f" {prediction.grid.difference(truth.grid)}; bring both to one grid before measuring",
            code="GRIDS_DIFFER",
        )
