"""report.html of a batch: totals, refusals, failures, volumes, outliers, pictures, on one page.

Its numbers are gathered in one pass over the cases, of which there may be a million.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from medseg_pipelines.batch.archive.case_keys import is_anonymous
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.messages import Row
from medseg_pipelines.batch.reports.status import SHORT
from medseg_pipelines.batch.reports.summary import Cases, refreshed, utc
from medseg_pipelines.batch.result_files import BESIDE, THUMBNAIL
from medseg_pipelines.console import duration
from medseg_pipelines.html_report import data_uri, render

REPORT_FILE = "report.html"
MOST_PICTURES = 200
MOST_BYTES = 12_000_000
"""Of all pictures together."""

MOST_ROWS = 200
"""Cases that a list of a report names."""

FAR = 3.5
"""Robust z-scores above this are worth a look (Iglewicz and Hoaglin 1993)."""

LEAST_CASES = 5
_FROM_MAD = 1.4826  # standard deviation of a normal distribution, in its median deviations
_FROM_MEAN = 1.253314  # and in its mean deviations
_MOST_MESSAGES = 1000  # different ones that are told apart, for a code
_CODES = ("refused", "failed")


class VolumeRange(NamedTuple):
    """Volumes of one label of one model."""

    model: str
    label: str
    cases: int
    empty: int  # how many volumes are 0
    low_ml: float  # the 5th percentile
    median_ml: float
    high_ml: float  # the 95th percentile
    deviation_ml: float  # median distance from the median, as a standard deviation


class Outlier(NamedTuple):
    """A case with a volume that is far from the others."""

    number: int
    ml: float
    range: VolumeRange
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

    def ranges(self) -> list[VolumeRange]:
        """The range of each label of each model, in the order of the labels' tables."""
        ranges = []
        for (model, label), (_, volumes) in self._ml.items():
            ml = np.asarray(volumes)
            low, median, high = (float(value) for value in np.percentile(ml, (5, 50, 95)))
            distances = np.abs(ml - median)
            mad, mean = float(np.median(distances)), float(distances.mean())
            deviation, empty = _FROM_MAD * mad or _FROM_MEAN * mean, int((ml == 0).sum())
            ranges.append(VolumeRange(model, label, len(ml), empty, low, median, high, deviation))
        return ranges

    def outliers(self) -> list[Outlier]:
        """Volumes that are far from the median, the farthest first, for each label of a case.

        Labels of fewer than `LEAST_CASES` cases have none.
        """
        outliers = []
        for label in self.ranges():
            if label.cases < LEAST_CASES or label.deviation_ml <= 0:
                continue
            numbers, volumes = self._ml[label.model, label.label]
            z = (np.asarray(volumes) - label.median_ml) / label.deviation_ml
            outliers += [
                Outlier(numbers[at], volumes[at], label, float(z[at]))
                for at in np.flatnonzero(np.abs(z) > FAR)
            ]
        return sorted(outliers, key=lambda outlier: -abs(outlier.z))


@dataclass
class _Statistics:
    """Numbers of all cases, and the few cases that are named."""

    states: Counter[str] = field(default_factory=Counter)
    messages: dict[str, dict[str, Counter[str]]] = field(  # by state and code
        default_factory=lambda: {state: defaultdict(Counter) for state in _CODES}
    )
    failures: list[Row] = field(default_factory=list)  # the first ones
    warned: list[Row] = field(default_factory=list)
    volumes: Volumes = field(default_factory=Volumes)
    seconds: dict[str, array[float]] = field(default_factory=dict)  # of the finished, by stage
    newest: list[tuple[float, int]] = field(default_factory=list)  # a heap: end and number
    models: set[str] = field(default_factory=set)
    began: float = 0.0  # of the first finished case; 0 when there is none
    ended: float = 0.0  # of the last case

    def add(self, number: int, row: Row) -> None:
        self.states[row.state] += 1
        self.models.add(row.model)
        self.ended = max(self.ended, row.ended_at)
        if row.state == "done":
            self._add_done(number, row)
        elif row.state in _CODES:
            counts = self.messages[row.state][row.code]
            is_new = row.message not in counts
            counts["" if is_new and len(counts) >= _MOST_MESSAGES else row.message] += 1
        if row.state == "failed" and len(self.failures) < MOST_ROWS:
            self.failures.append(row)

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

    def totals(self) -> dict[str, int]:
        """How many cases there are: done, refused, failed, open (they wait or are in flight)."""
        counts = {state: self.states[state] for state in ("done", *_CODES)}
        every = self.states.total()
        return counts | {"open": every - sum(counts.values()), "all": every}

    def codes(self, state: str) -> list[tuple[str, int, str]]:
        """Code, how many cases, and its most frequent message; most cases first."""
        lines = [
            (code, counts.total(), next((text for text, _ in counts.most_common() if text), ""))
            for code, counts in self.messages[state].items()
        ]
        return sorted(lines, key=lambda line: (-line[1], line[0]))

    def timings(self) -> dict[str, Any]:
        """Times of the finished cases by stage, and of all."""
        span, done = self.ended - self.began, self.states["done"]
        has_span = bool(done and self.began and span > 0)
        return {
            "stages": [
                (stage, f"{np.median(took):.2f}", f"{max(took):.2f}", duration(sum(took)))
                for stage, took in self.seconds.items()
            ],
            "span": duration(span) if has_span else "",
            "rate": f"{60 * done / span:.1f}" if has_span else "",
        }


def write_report(output: Path, cases: Cases) -> Path:
    """Write the report of a batch as one file that needs nothing else; cases are read twice.

    Raises `WriteError` when it cannot be written; a former one stays.
    """
    statistics = _Statistics()
    for number, row in cases:
        statistics.add(number, row)
    outliers = statistics.volumes.outliers()
    listed = outliers[:MOST_ROWS]
    newest = [number for _, number in sorted(statistics.newest, reverse=True)]
    pictured = list(dict.fromkeys([outlier.number for outlier in outliers] + newest))[
        :MOST_PICTURES
    ]
    numbers = {*pictured, *(outlier.number for outlier in listed)}
    rows = {number: row for number, row in cases if number in numbers} if numbers else {}
    pictures = list(_pictures(output, pictured, rows, outliers))
    html = render(
        "batch/reports/report.html.j2",
        totals=statistics.totals(),
        written=utc(statistics.ended),
        several=len(statistics.models) > 1,
        ranges=statistics.volumes.ranges(),
        limit=FAR,
        outliers=[(rows[outlier.number], outlier) for outlier in listed if outlier.number in rows],
        outlier_count=len(outliers),
        least=LEAST_CASES,
        pictures=pictures,
        without=statistics.states["done"] - len(pictures),
        refusals=statistics.codes("refused"),
        failures=statistics.failures,
        failure_codes=statistics.codes("failed"),
        timings=statistics.timings(),
        warned=statistics.warned,
        name=name_of,
        link=_link,
    )
    with refreshed(output / REPORT_FILE) as scratch:
        scratch.write_text(html, encoding="utf-8")
    return output / REPORT_FILE


def name_of(row: Row) -> str:
    """What a case is called for a person: as its scan, or by the beginning of its digest."""
    return row.case[:SHORT] if is_anonymous(row.folder) else row.folder.removesuffix(BESIDE)


def _link(row: Row) -> str:
    """The folder that the results of a case are in, as a relative address."""
    folder = PurePosixPath(row.folder)
    return f"{quote(str(folder.parent if folder.name.endswith(BESIDE) else folder))}/"


def _pictures(
    output: Path, numbers: Sequence[int], rows: Mapping[int, Row], outliers: Sequence[Outlier]
) -> Iterator[dict[str, Any]]:
    """The small picture of each case that has one, until they are large enough together."""
    spent = 0
    for number in numbers:
        try:
            picture = Places(output).file(rows[number].folder, THUMBNAIL).read_bytes()
        except (KeyError, OSError):  # another result took its place meanwhile
            continue
        spent += len(picture)
        if spent > MOST_BYTES:
            return
        far = [outlier for outlier in outliers if outlier.number == number]
        yield {"row": rows[number], "outliers": far, "uri": data_uri(picture)}
