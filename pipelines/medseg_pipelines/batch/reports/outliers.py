"""Volumes of a batch in numbers: what is usual for each label, and which cases are far from it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg_pipelines.batch.ledger.ledger import Row

FAR = 3.5
"""Robust z-scores above this are worth a look (Iglewicz and Hoaglin 1993)."""

LEAST_CASES = 5
_FROM_MAD = 1.4826  # standard deviation of a normal distribution, in its median deviations
_FROM_MEAN = 1.253314  # and in its mean deviations


@dataclass(frozen=True)
class VolumeRange:
    """Volumes of one label of one model.

    Parameters
    ----------
    model : str
    label : str
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
    number : int
    ml : float
    usual : VolumeRange
    z : float
        Distance from the median, in deviations.
    """

    number: int
    ml: float
    usual: VolumeRange
    z: float


class Volumes:
    """Volumes of all cases, by model and label; a few bytes for each."""

    def __init__(self) -> None:
        self._ml: dict[tuple[str, str], tuple[array[int], array[float]]] = {}

    def add(self, number: int, row: Row) -> None:
        """Take the volumes of a finished case.

        Parameters
        ----------
        number : int
            The case is called so in :meth:`far`.
        row : Row
        """
        for label, ml in row.volumes_ml.items():
            numbers, volumes = self._ml.setdefault((row.model, label), (array("q"), array("d")))
            numbers.append(number)
            volumes.append(ml)

    def usual(self) -> list[VolumeRange]:
        """What is usual for each label of each model, in the order of the labels' tables."""
        return [
            _usual(model, label, np.asarray(volumes))
            for (model, label), (_, volumes) in self._ml.items()
        ]

    def far(self) -> list[Outlier]:
        """Volumes that are far from the usual, the farthest first.

        Labels of fewer than `LEAST_CASES` cases have none. A case with several unusual labels is
        there once for each.
        """
        found = []
        for usual in self.usual():
            if usual.cases < LEAST_CASES or usual.deviation_ml <= 0:
                continue
            numbers, volumes = self._ml[usual.model, usual.label]
            z = (np.asarray(volumes) - usual.median_ml) / usual.deviation_ml
            found += [
                Outlier(numbers[at], volumes[at], usual, float(z[at]))
                for at in np.flatnonzero(np.abs(z) > FAR)
            ]
        return sorted(found, key=lambda one: -abs(one.z))


def _usual(model: str, label: str, ml: npt.NDArray[np.float64]) -> VolumeRange:
    low, median, high = (float(value) for value in np.percentile(ml, (5, 50, 95)))
    distances = np.abs(ml - median)
    deviation = _FROM_MAD * float(np.median(distances)) or _FROM_MEAN * float(distances.mean())
    return VolumeRange(
        model=model,
        label=label,
        cases=len(ml),
        empty=int((ml == 0).sum()),
        low_ml=low,
        median_ml=median,
        high_ml=high,
        deviation_ml=deviation,
    )
