"""A label map against the truth: what is compared with what, and the scores of one case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medseg.errors import GeometryError, LabelError
from medseg.metrics import measure_case
from medseg.metrics.scores import Scores
from medseg.reading.align import on_grid
from medseg.training.case_folder import numbered_as
from medseg.training.stored_names import is_named
from medseg.volume import Grid, LabelMap, LabelTable
from medseg.volume.conventions import Reorientation, orientation_letters


def evaluate(
    prediction: LabelMap, truth: LabelMap, *, tolerance_mm: float | None = 1.0
) -> dict[str, Scores]:
    """Scores of every label of a case.

    Parameters
    ----------
    prediction, truth : LabelMap
        On one grid. Labels of one name are compared, whatever their values; where one of the two
        has no names, labels of one value.
    tolerance_mm : float or None, default 1.0
        Distance within which surfaces count as equal; None leaves surfaces out, which is quicker.

    Returns
    -------
    dict of str to dict of str to float or None
        By label, as :func:`medseg.metrics.case_scores` says; of pictures in pixels. None where
        there is nothing to measure: the label is empty in both maps (a distance: in either).

    Raises
    ------
    GeometryError
        When the maps lie on different grids.
    LabelError
        When both name their labels, and no name is the same.
    """
    prediction, truth = alike(*on_one_grid(prediction, truth))
    sized = prediction.provenance.has_physical_size and truth.provenance.has_physical_size
    row = measure_case("", prediction, truth, regions={}, tolerance_mm=tolerance_mm, sized=sized)
    scores: dict[str, Scores] = row["labels"]
    return scores


def alike(prediction: LabelMap, truth: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Both maps, alike in what their values mean: names go before numbers.

    Parameters
    ----------
    prediction, truth : LabelMap

    Returns
    -------
    tuple of LabelMap
        The truth's table also knows labels which only the prediction holds, and has the
        prediction's names where it has none.

    Raises
    ------
    LabelError
        When both name their labels, share values, and no name is the same.
    """
    predicted, true = _names(prediction), _names(truth)
    if predicted and true:
        shared_values = set(prediction.table.values) & set(truth.table.values)
        if shared_values and predicted.isdisjoint(true):
            raise LabelError(
                f"the prediction names its labels {_some(prediction.table)} and the truth"
                f" {_some(truth.table)}; say what the values of both mean (--labels)",
                code="OTHER_LABELS",
            )
        prediction = numbered_as(prediction, truth.table)
    elif predicted:
        truth = replace(truth, table=with_all_labels(prediction, truth).table)
    return prediction, with_all_labels(truth, prediction)


def in_axes_of(prediction: LabelMap, truth: LabelMap) -> LabelMap:
    """The prediction with its axes in the truth's order and direction, where voxels coincide then.

    Returns
    -------
    LabelMap
        The prediction itself where that is not so: measuring it says how the two differ.
    """
    if prediction.grid.matches(truth.grid):
        return prediction
    turned = Reorientation.towards(prediction.grid, orientation_letters(truth.grid))
    if not turned.target.matches(truth.grid):
        return prediction
    return replace(prediction, values=turned.apply(prediction.values), grid=truth.grid)


def on_one_grid(prediction: LabelMap, truth: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Both maps on one grid where their voxels coincide; a DICOM SEG may lack empty slices.

    Returns
    -------
    tuple of LabelMap
        The maps themselves where that is not so: measuring them says how the two differ.
    """
    prediction = in_axes_of(prediction, truth)
    sparse = [labels.provenance.format == "dicom-seg" for labels in (prediction, truth)]
    if prediction.grid.matches(truth.grid) or not any(sparse):
        return prediction, truth
    if all(sparse):
        grid = _around(truth.grid, prediction.grid)
    else:
        grid = truth.grid if sparse[0] else prediction.grid
    try:
        onto = [
            replace(labels, values=on_grid(labels, grid), grid=grid)
            for labels in (prediction, truth)
        ]
    except GeometryError:
        return prediction, truth
    return onto[0], onto[1]


def _around(grid: Grid, other: Grid) -> Grid:
    """The grid, continued until it holds another one."""
    index = np.round(grid.to_index(other.corners_mm()))
    first = np.minimum(index.min(axis=0), 0)
    last = np.maximum(index.max(axis=0), np.asarray(grid.shape) - 1)
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    i, j, k = (int(n) for n in last - first + 1)
    return Grid((i, j, k), affine)


def with_all_labels(truth: LabelMap, prediction: LabelMap) -> LabelMap:
    """The truth with a table that also knows labels which only the prediction holds."""
    values = set(truth.table.values)
    extra = [label for label in prediction.table if label.value not in values]
    if not extra:
        return truth
    rows = sorted([*truth.table, *extra], key=lambda label: label.value)
    return replace(truth, table=LabelTable(tuple(rows)))


def _names(labels: LabelMap) -> set[str]:
    """Names that say more than the values do, in small letters."""
    return {label.name.casefold() for label in labels.table if is_named(label)}


def _some(table: LabelTable, *, most: int = 5) -> str:
    more = f" and {len(table) - most} more" if len(table) > most else ""
    return ", ".join(table.names[:most]) + more
