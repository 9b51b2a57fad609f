"""What a report tells of a batch, gathered in one pass over its cases, however many there are."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medseg_pipelines.batch.messages import Row

Cases = Iterable[tuple[int, Row]]
"""Cases with their numbers; to be gone through more than once."""

MOST_ROWS = 200
"""Cases that a list of a report names."""

FAR = 3.5
"""Robust z-scores above this are worth a look (Iglewicz and Hoaglin 1993)."""

LEAST_CASES = 5
_FROM_MAD = 1.4826  # standard deviation of a normal distribution, in its median deviations
_FROM_MEAN = 1.253314  # and in its mean deviations
_MOST_SENTENCES = 1000  # different ones that are told apart, for a code


@dataclass(frozen=True)
class VolumeRange:
    """Volumes of one label of one model."""

    model: str
    label: str
    cases: int
    empty: int  # how many volumes are 0
    low_ml: float  # the 5th percentile
    median_ml: float
    high_ml: float  # the 95th percentile
    deviation_ml: float  # median distance from the median, as a standard deviation


@dataclass(frozen=True)
class Outlier:
    """A case with an unusual volume."""

    number: int
    ml: float
    usual: VolumeRange
    z: float  # distance from the median, in deviations


class Volumes:
    """Volumes of all cases, by model and label; a few bytes for each."""

    def __init__(self) -> None:
        self._ml: dict[tuple[str, str], tuple[array[int], array[float]]] = {}

    def add(self, number: int, row: Row) -> None:
        """Take the volumes of a finished case."""
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
        outliers = []
        for usual in self.usual():
            if usual.cases < LEAST_CASES or usual.deviation_ml <= 0:
                continue
            numbers, volumes = self._ml[usual.model, usual.label]
            z = (np.asarray(volumes) - usual.median_ml) / usual.deviation_ml
            outliers += [
                Outlier(numbers[at], volumes[at], usual, float(z[at]))
                for at in np.flatnonzero(np.abs(z) > FAR)
            ]
        return sorted(outliers, key=lambda outlier: -abs(outlier.z))


def _usual(model: str, label: str, ml: npt.NDArray[np.float64]) -> VolumeRange:
    low, median, high = (float(value) for value in np.percentile(ml, (5, 50, 95)))
    distances = np.abs(ml - median)
    deviation = _FROM_MAD * float(np.median(distances)) or _FROM_MEAN * float(distances.mean())
    empty = int((ml == 0).sum())
    return VolumeRange(model, label, len(ml), empty, low, median, high, deviation)


@dataclass
class Codes:
    """How often each code, and what is said with it."""

    sentences: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Take a case."""
        counts = self.sentences.setdefault(row.code, Counter())
        is_one_too_many = row.message not in counts and len(counts) >= _MOST_SENTENCES
        counts["" if is_one_too_many else row.message] += 1

    def by_number(self) -> list[tuple[str, int, str]]:
        """Code, how many cases, and the sentence that is told most often, most cases first."""
        lines = [
            (code, counts.total(), next((text for text, _ in counts.most_common() if text), ""))
            for code, counts in self.sentences.items()
        ]
        return sorted(lines, key=lambda line: (-line[1], line[0]))


@dataclass
class RunStatistics:
    """Numbers of all cases, and the few cases that are named."""

    states: Counter[str] = field(default_factory=Counter)
    refused: Codes = field(default_factory=Codes)
    failed: Codes = field(default_factory=Codes)
    failures: list[Row] = field(default_factory=list)  # the first ones
    warned: list[Row] = field(default_factory=list)
    volumes: Volumes = field(default_factory=Volumes)
    seconds: dict[str, array[float]] = field(default_factory=dict)  # of the finished, by stage
    newest: list[tuple[float, int]] = field(default_factory=list)  # a heap: end and number
    models: set[str] = field(default_factory=set)
    began: float = 0.0  # of the first finished case; 0 when there is none
    ended: float = 0.0  # of the last case

    @classmethod
    def of(cls, cases: Cases) -> RunStatistics:
        """Go through cases."""
        statistics = cls()
        for number, row in cases:
            statistics._add(number, row)
        return statistics

    def totals(self) -> dict[str, int]:
        """How many cases there are: done, refused, failed, open (they wait or are in flight)."""
        counts = {state: self.states[state] for state in ("done", "refused", "failed")}
        every = self.states.total()
        return counts | {"open": every - sum(counts.values()), "all": every}

    def stages(self) -> list[tuple[str, float, float, float]]:
        """Stage; median, longest and all seconds that it took."""
        return [
            (stage, float(np.median(took)), max(took), sum(took))
            for stage, took in self.seconds.items()
        ]

    def _add(self, number: int, row: Row) -> None:
        self.states[row.state] += 1
        self.models.add(row.model)
        self.ended = max(self.ended, row.ended_at)
        if row.state == "done":
            self._add_done(number, row)
        elif row.state == "refused":
            self.refused.add(row)
        elif row.state == "failed":
            self.failed.add(row)
            self.failures += [row] if len(self.failures) < MOST_ROWS else []

    def _add_done(self, number: int, row: Row) -> None:
        self.volumes.add(number, row)
        for stage, seconds in row.seconds.items():
            self.seconds.setdefault(stage, array("d")).append(seconds)
        if row.started_at:
            self.began = min(self.began or row.started_at, row.started_at)
        push = heapq.heappush if len(self.newest) < MOST_ROWS else heapq.heappushpop
        push(self.newest, (row.ended_at, number))
        if row.warnings and len(self.warned) < MOST_ROWS:
            self.warned.append(row)
