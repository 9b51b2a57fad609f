"""Summary and report beside the results, which follow what a run does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from medseg.errors import MedsegError
from medseg_pipelines.batch.events import Planned
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import AllCases, Ledger
from medseg_pipelines.batch.reports.report import REPORT_FILE, write_report
from medseg_pipelines.batch.reports.status import keep_command
from medseg_pipelines.batch.reports.summary import CSV_FILE, PARQUET_FILE, write_summary

_LEAST_SECONDS = 30.0
_SHARE = 20.0
_FILES = (CSV_FILE, PARQUET_FILE, REPORT_FILE)
_STATE_FILE = "tables.txt"
_STATE = (
    "SELECT state, superseded_by != '', count(*), max(queued_at), max(ended_at), sum(attempts)"
    " FROM cases GROUP BY 1, 2 ORDER BY 1, 2"
)


class Tables:
    """Rewrites the summary now and then, and everything at the end."""

    def __init__(self, output: Path, command: Sequence[str] = ()) -> None:
        self._output, self._command = output, command
        self._cases = AllCases(output)
        self._summary = Debounced(self._write_summary)

    def planned(self, plan: Planned) -> None:
        """The search is over: keep the command for ``medseg batch retry``."""
        if plan.todo:
            keep_command(self._output, self._command)

    def case_ended(self) -> None:
        """A case ended."""
        self._summary()

    def write(self) -> str:
        """Write all tables, unless they say what the ledger says.

        What goes wrong is returned and not raised, for the results are there.
        """
        self._summary.wait()
        places = Places(self._output)
        if not places.ledger.is_file():
            return ""
        state, state_file = self._state(), places.own / _STATE_FILE
        with suppress(OSError, ValueError):
            same = state_file.read_text(encoding="utf-8") == state
            if same and all((self._output / name).is_file() for name in _FILES):
                return ""
        try:
            write_summary(self._output, self._cases)
            write_report(self._output, self._cases)
        except MedsegError as error:
            return str(error)
        with suppress(OSError):
            state_file.write_text(state, encoding="utf-8")
        return ""

    def _write_summary(self) -> None:
        """What cannot be written now is written later."""
        with suppress(MedsegError):
            write_summary(self._output, self._cases)

    def _state(self) -> str:
        """A text that changes whenever a case is queued, ends or is to be tried again."""
        with Ledger.of(self._output) as ledger, ledger.reading() as db:
            return repr([tuple(row) for row in db.execute(_STATE)])


class Debounced:
    """Something that is done beside the work again and again, for a twentieth of the time at most.

    It has a thread of its own, so that a run with many cases does not wait for it.
    """

    def __init__(self, do: Callable[[], None], *, least_s: float = _LEAST_SECONDS) -> None:
        self._do, self._least_s = do, least_s
        self._next = time.monotonic() + least_s
        self._thread: threading.Thread | None = None

    def __call__(self) -> None:
        """Do it when it is time, and not at work already."""
        is_busy = self._thread is not None and self._thread.is_alive()
        if time.monotonic() >= self._next and not is_busy:
            self._thread = threading.Thread(target=self._work, name="medseg-tables")
            self._thread.start()

    def wait(self) -> None:
        """Wait for what is being done."""
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        start = time.monotonic()
        self._do()
        end = time.monotonic()
        self._next = end + max(self._least_s, _SHARE * (end - start))
