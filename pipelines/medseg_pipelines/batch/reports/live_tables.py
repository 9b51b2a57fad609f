"""Summary and report beside the results, which follow what a run does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from medseg.errors import MedsegError
from medseg_pipelines.batch.events import Events, Planned, Tally
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger, Row
from medseg_pipelines.batch.messages import ScanRecord
from medseg_pipelines.batch.reports.cases import AllCases
from medseg_pipelines.batch.reports.report import REPORT_FILE, write_report
from medseg_pipelines.batch.reports.status import keep_command
from medseg_pipelines.batch.reports.summary import CSV_FILE, PARQUET_FILE, write_summary

_LEAST_SECONDS = 30.0
_SHARE = 20.0
_FILES = (CSV_FILE, PARQUET_FILE, REPORT_FILE)
_MARK = "tables.txt"
_STAND = (
    "SELECT state, superseded_by != '', count(*), max(queued_at), max(ended_at), sum(attempts)"
    " FROM cases GROUP BY 1, 2 ORDER BY 1, 2"
)


class Tables:
    """Passes events on, and rewrites the summary now and then, and everything at the end.

    Parameters
    ----------
    shown : Events
        Told everything, and asked whether to stop.
    output : Path
    command : sequence of str
        Kept for `medseg batch retry`.
    """

    def __init__(self, shown: Events, output: Path, command: Sequence[str]) -> None:
        self._shown, self._output, self._command = shown, output, command
        self._cases = AllCases(output)
        self._summary = Debounced(self._write_summary)

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        self._shown.searching(done, total)

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        if plan.todo:
            keep_command(self._output, self._command)
        self._shown.planned(plan)

    def case_started(self, case: str, found: ScanRecord) -> None:
        """A case was begun."""
        self._shown.case_started(case, found)

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case goes on."""
        self._shown.case_progress(case, stage, done, total)

    def case_ended(self, row: Row) -> None:
        """A case ended."""
        self._shown.case_ended(row)
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
        """Write all tables, unless they say what the ledger says.

        If they cannot be written that is told, for the results are there.
        """
        self._summary.wait()
        places = Places(self._output)
        if not places.ledger.is_file():
            return
        mark, stand = places.own / _MARK, self._stand()
        if stand == _text(mark) and all((self._output / name).is_file() for name in _FILES):
            return
        try:
            write_summary(self._output, self._cases)
            write_report(self._output, self._cases)
            with suppress(OSError):
                mark.write_text(stand, encoding="utf-8")
        except MedsegError as error:
            self._shown.told(str(error))

    def _write_summary(self) -> None:
        """What cannot be written now is written later."""
        with suppress(MedsegError):
            write_summary(self._output, self._cases)

    def _stand(self) -> str:
        """A text that changes whenever a case is queued, ends or is to be tried again."""
        with Ledger.of(self._output) as ledger, ledger.reading() as db:
            return repr([tuple(row) for row in db.execute(_STAND)])


class Debounced:
    """Something that is done beside the work again and again, for a twentieth of the time at most.

    Parameters
    ----------
    do : callable
        What; in a thread of its own, so that a run with many cases does not wait for it.
    least_s : float
        Not more often than this.
    """

    def __init__(self, do: Callable[[], None], *, least_s: float = _LEAST_SECONDS) -> None:
        self._do, self._least_s = do, least_s
        self._next = time.monotonic() + least_s
        self._thread: threading.Thread | None = None

    def __call__(self) -> None:
        """Do it when it is time, and nobody is at it."""
        if time.monotonic() >= self._next and not self._is_at_it():
            self._thread = threading.Thread(target=self._work, name="medseg-tables")
            self._thread.start()

    def wait(self) -> None:
        """Wait for what is being done."""
        if self._thread is not None:
            self._thread.join()

    def _is_at_it(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        start = time.monotonic()
        self._do()
        end = time.monotonic()
        self._next = end + max(self._least_s, _SHARE * (end - start))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
