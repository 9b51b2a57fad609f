"""When a series is whole: nothing came for a while, and nothing is missing that the peer counts."""

from __future__ import annotations

import time

from medseg_pipelines.pacs.client import connected
from medseg_pipelines.pacs.database import SeriesRow
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.retry import wait_s
from medseg_pipelines.pacs.service_log import Log
from medseg_pipelines.pacs.settings import PacsSettings
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.validate import RefusedError, examine


class Completeness:
    """Judges series that are being received.

    Parameters
    ----------
    settings : PacsSettings
        Silence, patience, and who is asked.
    spool : Spool
    log : Log
        Told what is given up.
    """

    def __init__(self, settings: PacsSettings, spool: Spool, log: Log) -> None:
        self._settings, self._spool, self._log = settings, spool, log
        self._rules = settings.completeness

    def judge(self) -> int:
        """Let the series that are whole be ready, and give up those that wait for too long.

        Returns
        -------
        int
            How many became ready.
        """
        ready, now = 0, time.time()
        for row in self._spool.register.series("receiving"):
            # a clock that was set back must not make a series wait for ever
            silent_s = max(0.0, now - row.last_at) if row.last_at <= now else self._rules.silence_s
            if silent_s >= self._rules.silence_s and row.next_at <= now:
                ready += self._judge(row, silent_s)
        return ready

    def _judge(self, row: SeriesRow, silent_s: float) -> bool:
        """Whether a silent series became ready."""
        register = self._spool.register
        patient = silent_s < self._rules.patience_s
        try:
            expected = self._expected(row)
        except PeerError as error:
            if patient:
                self._later(row, error.code, str(error))
                return False
            self._log.say(
                f"series {row.series[:8]}: nobody could be asked for its count; it goes on"
            )
            expected = None
        if expected is None or row.objects >= expected:
            return register.settle(row, "ready")
        missing = f"{row.objects} of {expected} objects came"
        if patient:
            self._later(row, "INCOMPLETE", missing)
            return False
        if register.settle(row, "dead", code="INCOMPLETE", message=missing):
            self._spool.dead_letter(row.series, what="series", code="INCOMPLETE", message=missing)
            self._log.say(f"series {row.series[:8]}: given up, {missing} (INCOMPLETE)")
        return False

    def _later(self, row: SeriesRow, code: str, message: str) -> None:
        attempts = row.attempts + 1
        self._spool.register.settle(
            row,
            "receiving",
            code=code,
            message=message,
            attempts=attempts,
            next_at=time.time() + wait_s(self._settings.retry, attempts),
        )

    def _expected(self, row: SeriesRow) -> int | None:
        """How many objects the peer counts; None when nobody can tell."""
        path = self._spool.any_file(row.series)
        if not self._rules.ask or path is None:
            return row.expected
        try:
            piece = examine(path)
        except RefusedError:
            return row.expected
        names = {"StudyInstanceUID": piece.study_uid, "SeriesInstanceUID": piece.series_uid}
        peer = self._settings.peer(self._rules.ask)
        with connected(peer, self._settings, self._spool) as line:
            counts = [one.objects for one in line.find(names) if one.name == row.series]
        count = counts[0] if counts else None
        self._spool.register.expect(row.series, count)
        return count
