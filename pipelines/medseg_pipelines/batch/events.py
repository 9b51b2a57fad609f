"""What a run tells while it works, and how it is asked to stop."""

from __future__ import annotations

import msgspec

from medseg_pipelines.batch.messages import Row, ScanRecord


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What the search and the ledger say there is to do, in this run's share of the archive."""

    scans: int = msgspec.field(default=0, name="found")  # as --json-lines calls them
    new: int = 0  # never seen before with this model and these settings
    again: int = 0  # done before, but files changed, or another result took its place
    left: int = 0  # waiting from an earlier run
    kept: int = 0  # done, and left alone
    refused: dict[str, int] = {}  # by code, how many will not be tried
    failed: dict[str, int] = {}

    @property
    def todo(self) -> int:
        """How many cases this run has to do."""
        return self.new + self.again + self.left


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    planned: Planned
    done: int = 0
    refused: int = 0
    failed: int = 0
    left: int = 0  # cases in the ledger that wait, or that other shares have in flight
    codes: dict[str, int] = {}  # of the refusals and failures of this run
    seconds: float = 0.0


class Events:
    """Told what happens, in the thread of the run. Here nobody listens; a view overrides that."""

    def searching(self, done: int, total: int) -> None:
        """The archive is searched: `done` of `total` files are known; the total may grow."""

    def planned(self, plan: Planned) -> None:
        """The search is over."""

    def case_started(self, case: str, scan: ScanRecord) -> None:
        """A case was given to a worker."""

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case is being read, segmented or written; 0 of 0 when the stage begins."""

    def case_ended(self, row: Row) -> None:
        """A case was settled by this run: it is done, refused or failed."""

    def on_message(self, message: str) -> None:
        """Something that a person should know: a sentence without patient text."""

    def finished(self, tally: Tally) -> None:
        """The run is over."""

    def check(self) -> None:
        """Raise `medseg.errors.Cancelled` when the run is to stop."""
