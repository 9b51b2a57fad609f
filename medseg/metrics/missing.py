"""What counts where a label is missing in one of the maps, or in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from medseg.errors import InputError
from medseg.metrics.measures import DISTANCES
from medseg.metrics.scores import Row, Scores
from medseg.volume import Grid

Missing = Literal["undefined", "worst"]
CHOICES: tuple[Missing, ...] = get_args(Missing)
_UNITS = ("ml", "pixels")

EMPTY_IN_BOTH = (
    "A label that is empty in both maps has no score: the case counts neither as 1 nor as 0 for it,"
    ' and is told as "empty".'
)
EMPTY_IN_ONE: dict[Missing, str] = {
    "undefined": (
        "Where only one of the maps has a label, Dice, IoU and surface Dice are 0; HD95 and ASSD"
        ' are undefined, left out of their means, and told as "undefined".'
    ),
    "worst": (
        "Where only one of the maps has a label, Dice, IoU and surface Dice are 0; HD95 and ASSD"
        " are the diagonal of the image."
    ),
}


def diagonal(grid: Grid) -> float:
    """Length of the diagonal of an image, in mm: the largest distance that surfaces can have."""
    return float(np.linalg.norm(np.multiply(grid.shape, grid.spacing_mm)))


def with_missing(rows: Sequence[Row], rule: Missing) -> list[Row]:
    """Rows of cases whose distances follow a rule where a label is missing in one of the maps.

    Parameters
    ----------
    rows : sequence of dict
        As :func:`~medseg.metrics.scores.case_scores` gives their scores. For the rule "worst" they
        have a ``"diagonal_mm"``, or a ``"diagonal_pixels"``.
    rule : {"undefined", "worst"}
        A distance is None, or the image's diagonal: a worst value in place of none, as Maier-Hein
        et al. recommend for measures without a bound (Metrics reloaded, Nature Methods 21, 2024).

    Raises
    ------
    InputError
        When a diagonal is needed and not known.
    """
    return [
        {**row, "labels": {name: _ruled(row, scores, rule) for name, scores in labels.items()}}
        for row in rows
        for labels in (row["labels"],)
    ]


def _ruled(row: Row, scores: Scores, rule: Missing) -> Scores:
    """The scores of one label of a case."""
    sizes = [scores.get(f"{part}volume_{unit}") for part in ("", "reference_") for unit in _UNITS]
    if len([size for size in sizes if size]) != 1:
        return scores
    worst = {key: _worst(row, key, rule) for key in DISTANCES if key in scores}
    return {**scores, **worst}


def _worst(row: Row, key: str, rule: Missing) -> float | None:
    if rule == "undefined":
        return None
    length: float | None = row.get(f"diagonal_{key.rpartition('_')[2]}")
    if length is None:
        raise InputError(
            f"the scores of case '{row['case']}' do not tell how large its image is, so there is no"
            " worst distance; evaluate it again, or leave --missing worst out",
            code="NO_DIAGONAL",
        )
    return length
