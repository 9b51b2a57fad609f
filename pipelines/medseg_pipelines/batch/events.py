"""What a run tells while it works, and how it is asked to stop."""

from __future__ import annotations

from typing import Protocol

import msgspec

from medseg_pipelines.batch.case_row import Row
from medseg_pipelines.batch.messages import ScanRecord


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What the search and the ledger say there is to do.

    Parameters
    ----------
    found : int
        Scans in the archive, in this run's share of it.
    new : int
        Never seen before with this model and these settings.
    again : int
        Done before, but their files changed, or another result took their place.
    left : int
        Waiting from an earlier run.
    kept : int
    elsewhere : int
        In hand in another run.
    refused, failed : dict of str to int
        How many will not be tried, by code.
    """

    found: int = 0
    new: int = 0
    again: int = 0
    left: int = 0
    kept: int = 0
    elsewhere: int = 0
    refused: dict[str, int] = {}
    failed: dict[str, int] = {}

    @property
    def todo(self) -> int:
        """How many cases this run has to do, if no other does."""
        return self.new + self.again + self.left


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to.

    Parameters
    ----------
    planned : Planned
        What there was to do.
    done, refused, failed : int
        Cases that this run settled.
    left : int
        Cases in the ledger that wait, or that other runs have in hand.
    codes : dict of str to int
        Of the refusals and failures of this run.
    seconds : float
    """

    planned: Planned
    done: int = 0
    refused: int = 0
    failed: int = 0
    left: int = 0
    codes: dict[str, int] = {}
    seconds: float = 0.0


class Events(Protocol):
    """Told what happens, in the thread of the run; a screen, a log or a test."""

    def searching(self, done: int, total: int) -> None:
        """The archive is searched: `done` of `total` files are known; the total may grow."""
        ...

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        ...

    def case_started(self, case: str, found: ScanRecord) -> None:
        """A case was taken in hand."""
        ...

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case is being read, segmented or written; 0 of 0 when the stage begins."""
        ...

    def case_ended(self, row: Row) -> None:
        """A case was settled by this run: it is done, refused or failed."""
        ...

    def told(self, message: str) -> None:
        """Something that a person should know: a sentence without patient text."""
        ...

    def finished(self, tally: Tally) -> None:
        """The run is over."""
        ...

    def check(self) -> None:
        """Raise `medseg.errors.Cancelled` when the run is to stop."""
        ...


class NullEvents:
    """Events that nobody listens to; others inherit from it what they do not care for."""

    def searching(self, done: int, total: int) -> None:
        """Pass over it."""

    def planned(self, plan: Planned) -> None:
        """Pass over it."""

    def case_started(self, case: str, found: ScanRecord) -> None:
        """Pass over it."""

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """Pass over it."""

    def case_ended(self, row: Row) -> None:
        """Pass over it."""

    def told(self, message: str) -> None:
        """Pass over it."""

    def finished(self, tally: Tally) -> None:
        """Pass over it."""

    def check(self) -> None:
        """Go on."""
