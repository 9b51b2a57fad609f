"""Regions that hold one another, measured one by one, each with all that lies inside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from medseg.metrics.ignore import leave_out_ignored
from medseg.metrics.overlap import check_same_grid
from medseg.volume import LabelMap, LabelTable

Measured = TypeVar("Measured")
Measure = Callable[[LabelMap, LabelMap], dict[str, Measured]]


def by_region(
    measure: Measure[Measured],
    prediction: LabelMap,
    truth: LabelMap,
    regions: Mapping[str, Collection[int]],
) -> dict[str, Measured]:
    """What a measure gives for each region; for each label when there are no regions.

    Parameters
    ----------
    measure : callable
        Such as :func:`~medseg.metrics.overlap`: a prediction and a truth to a dict by label name.
    prediction : LabelMap
        What a model (or another reader) drew.
    truth : LabelMap
        The reference, on the same grid. Voxels it labels "ignore" do not count.
    regions : mapping of str to collection of int
        Name of each region, and the label values it is made of in both maps.

    Returns
    -------
    dict
        By region's name, in the order of `regions`; by label's name when that is empty.

    Raises
    ------
    GeometryError
        When the two maps do not lie on the same grid.
    """
    if not regions:
        return measure(prediction, truth)
    check_same_grid(prediction, truth)
    maps = leave_out_ignored(prediction, truth)
    scores: dict[str, Measured] = {}
    for name, values in regions.items():
        isolated = (_isolated(labels, name, values) for labels in maps)
        scores |= measure(*isolated)
    return scores


def _isolated(labels: LabelMap, name: str, values: Collection[int]) -> LabelMap:
    """A map of one region and background."""
    inside = np.isin(labels.values, list(values)).astype(np.uint8)
    return replace(labels, values=inside, table=LabelTable.of({1: name}))
