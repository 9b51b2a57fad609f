"""Volumes of a batch in numbers: what is usual for each label, and which cases are far from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg_pipelines.batch.ledger import Row

FAR = 3.5
"""Robust z-scores above this are worth a look (Iglewicz and Hoaglin 1993)."""

LEAST_CASES = 5
_FROM_MAD = 1.4826  # standard deviation of a normal distribution, in its median deviations
_FROM_MEAN = 1.253314  # and in its mean deviations


@dataclass(frozen=True)
class Usual:
    """Volumes of one label of one model.

    Parameters
    ----------
    model : str
        Digest of the model.
    label : str
        Name of the label.
    cases : int
        How many volumes there are.
    empty : int
        How many of them are 0.
    low_ml, median_ml, high_ml : float
        The 5th, 50th and 95th percentile.
    deviation_ml : float
        Median distance from the median, as a standard deviation; the mean one where that is 0.
    """

    model: str
    label: str
    cases: int
    empty: int
    low_ml: float
    median_ml: float
    high_ml: float
    deviation_ml: float


@dataclass(frozen=True)
class Outlier:
    """A case with an unusual volume.

    Parameters
    ----------
    row : Row
        The case.
    label : str
        Name of the label.
    ml : float
        Its volume.
    usual : Usual
        Of this label.
    z : float
        Distance from the median, in deviations.
    """

    row: Row
    label: str
    ml: float
    usual: Usual
    z: float


def usual_volumes(rows: Sequence[Row]) -> list[Usual]:
    """What is usual for each label of each model, in the order of the labels' tables.

    Parameters
    ----------
    rows : sequence of Row
        Finished cases.

    Returns
    -------
    list of Usual
    """
    volumes: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for label, ml in row.volumes_ml.items():
            volumes.setdefault((row.model, label), []).append(ml)
    return [_usual(model, label, np.asarray(ml)) for (model, label), ml in volumes.items()]


def outliers(rows: Sequence[Row], usual: Sequence[Usual]) -> list[Outlier]:
    """Cases whose volume of some label is far from the usual, the farthest first.

    Parameters
    ----------
    rows : sequence of Row
        Finished cases.
    usual : sequence of Usual
        See :func:`usual_volumes`. Labels of fewer than `LEAST_CASES` cases have no outliers.

    Returns
    -------
    list of Outlier
        A case with several unusual labels is there once for each.
    """
    by_label: Mapping[tuple[str, str], Usual] = {
        (one.model, one.label): one
        for one in usual
        if one.cases >= LEAST_CASES and one.deviation_ml > 0
    }
    far = []
    for row in rows:
        for label, ml in row.volumes_ml.items():
            known = by_label.get((row.model, label))
            if known is None:
                continue
            z = (ml - known.median_ml) / known.deviation_ml
            if abs(z) > FAR:
                far.append(Outlier(row, label, ml, known, z))
    return sorted(far, key=lambda one: -abs(one.z))


def _usual(model: str, label: str, ml: npt.NDArray[np.float64]) -> Usual:
    low, median, high = (float(value) for value in np.percentile(ml, (5, 50, 95)))
    distances = np.abs(ml - median)
    deviation = _FROM_MAD * float(np.median(distances)) or _FROM_MEAN * float(distances.mean())
    return Usual(
        model=model, label=label, cases=len(ml), empty=int((ml == 0).sum()), low_ml=low,
        median_ml=median, high_ml=high, deviation_ml=deviation,
    )  # fmt: skip
