"""What a report tells of a batch, gathered in one pass over its cases, however many there are."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from medseg_pipelines.batch.ledger.ledger import Row
from medseg_pipelines.batch.reports.outliers import Volumes

Cases = Iterable[tuple[int, Row]]
"""Cases with their numbers; to be gone through more than once."""

MOST_ROWS = 200
"""Cases that a list of a report names."""

_MOST_SENTENCES = 1000  # different ones that are told apart, for a code


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """How many cases stand where.

    Parameters
    ----------
    done, refused, failed, open : int
        Cases; `open` ones wait or are in hand.
    """

    done: int
    refused: int
    failed: int
    open: int

    @property
    def all(self) -> int:
        """How many cases there are."""
        return self.done + self.refused + self.failed + self.open


@dataclass
class Codes:
    """How often each code, and what is said with it."""

    sentences: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Take a case."""
        known = self.sentences.setdefault(row.code, Counter())
        is_new = row.message not in known and len(known) >= _MOST_SENTENCES
        known["" if is_new else row.message] += 1

    def by_number(self) -> list[tuple[str, int, str]]:
        """Code, how many cases, and the sentence that is told most often, most cases first."""
        told = [
            (code, known.total(), next((text for text, _ in known.most_common() if text), ""))
            for code, known in self.sentences.items()
        ]
        return sorted(told, key=lambda one: (-one[1], one[0]))


@dataclass
class RunStatistics:
    """Numbers of all cases, and the few cases that are named.

    Parameters
    ----------
    states : Counter
        How many cases are in each state.
    refused, failed : Codes
    failures, warned : list of Row
        The first failed cases, and the first with warnings.
    volumes : Volumes
    seconds : dict of str to array
        Of the finished cases, by stage.
    newest : list of (float, int)
        When the cases ended that ended last, and their numbers; a heap.
    models : set of str
    began, ended : float
        When the first finished case was begun, and the last case ended; 0 when none did.
    """

    states: Counter[str] = field(default_factory=Counter)
    refused: Codes = field(default_factory=Codes)
    failed: Codes = field(default_factory=Codes)
    failures: list[Row] = field(default_factory=list)
    warned: list[Row] = field(default_factory=list)
    volumes: Volumes = field(default_factory=Volumes)
    seconds: dict[str, array[float]] = field(default_factory=dict)
    newest: list[tuple[float, int]] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    began: float = 0.0
    ended: float = 0.0

    @classmethod
    def of(cls, cases: Cases) -> RunStatistics:
        """Go through cases."""
        gathered = cls()
        for number, row in cases:
            gathered.states[row.state] += 1
            gathered.models.add(row.model)
            gathered.ended = max(gathered.ended, row.ended_at)
            if row.state == "done":
                gathered._add_done(number, row)
            elif row.state == "refused":
                gathered.refused.add(row)
            elif row.state == "failed":
                gathered.failed.add(row)
                _keep(gathered.failures, row)
        return gathered

    def totals(self) -> Totals:
        """How many cases stand where."""
        count = self.states
        return Totals(
            done=count["done"],
            refused=count["refused"],
            failed=count["failed"],
            open=count["waiting"] + count["leased"],
        )

    def stages(self) -> list[tuple[str, float, float, float]]:
        """Stage; median, longest and all seconds that it took."""
        return [
            (stage, float(np.median(took)), max(took), sum(took))
            for stage, took in self.seconds.items()
        ]

    def _add_done(self, number: int, row: Row) -> None:
        self.volumes.add(number, row)
        for stage, seconds in row.seconds.items():
            self.seconds.setdefault(stage, array("d")).append(seconds)
        if row.started_at:
            self.began = min(self.began or row.started_at, row.started_at)
        push = heapq.heappush if len(self.newest) < MOST_ROWS else heapq.heappushpop
        push(self.newest, (row.ended_at, number))
        if row.warnings:
            _keep(self.warned, row)


def _keep(rows: list[Row], row: Row) -> None:
    if len(rows) < MOST_ROWS:
        rows.append(row)
