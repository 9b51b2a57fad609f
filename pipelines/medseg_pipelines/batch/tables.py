"""Summary and report beside the results, which follow what a run does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from medseg.errors import MedsegError
from medseg_pipelines.batch.events import Events, Planned, Tally
from medseg_pipelines.batch.ledger import Ledger, Row
from medseg_pipelines.batch.nouns import Found
from medseg_pipelines.batch.places import Places
from medseg_pipelines.batch.report import write_report
from medseg_pipelines.batch.status import keep_command
from medseg_pipelines.batch.summary import NowAndThen, write_summary


class Tables:
    """Passes events on, and rewrites the summary now and then, and everything at the end.

    Parameters
    ----------
    shown : Events
        Told everything, and asked whether to stop.
    output : Path
        Folder of the batch.
    command : sequence of str
        Kept for `medseg batch retry`.
    """

    def __init__(self, shown: Events, output: Path, command: Sequence[str]) -> None:
        self._shown, self._output, self._command = shown, output, command
        self._summary = NowAndThen(lambda: write_summary(output, self._rows()))

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        self._shown.searching(done, total)

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        if plan.todo:
            keep_command(self._output, self._command)
        self._shown.planned(plan)

    def case_started(self, case: str, found: Found) -> None:
        """A case was begun."""
        self._shown.case_started(case, found)

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case goes on."""
        self._shown.case_progress(case, stage, done, total)

    def case_ended(self, row: Row) -> None:
        """A case ended; a summary that cannot be written now is written later."""
        self._shown.case_ended(row)
        with suppress(MedsegError):
            self._summary()

    def told(self, message: str) -> None:
        """Something that a person should know."""
        self._shown.told(message)

    def finished(self, tally: Tally) -> None:
        """The run is over."""
        self._shown.finished(tally)

    def check(self) -> None:
        """Raise `Cancelled` when the run is to stop."""
        self._shown.check()

    def write(self) -> None:
        """Write all tables; if they cannot be written that is told, for the results are there."""
        if not Places(self._output).ledger.is_file():
            return
        try:
            rows = self._rows()
            if rows:
                write_summary(self._output, rows)
                write_report(self._output, rows)
        except MedsegError as error:
            self._shown.told(str(error))

    def _rows(self) -> list[Row]:
        with Ledger.of(self._output) as ledger:
            return ledger.rows()
