"""What became of a case, into the ledger, and its results into their place: both or neither."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from medseg_pipelines.batch.ledger import publish
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger, Row, row_of
from medseg_pipelines.batch.ledger.provenance import read_record
from medseg_pipelines.batch.ledger.storage_errors import as_write_error
from medseg_pipelines.batch.messages import Fault, Result

_DONE = """
UPDATE cases SET state = 'done', code = '', message = '', content = :content, volumes = :volumes,
  warnings = :warnings, seconds = :seconds, attempts = :attempts, alone = 0, ended_at = :now,
  superseded_by = '' WHERE "case" = :case
"""
_UNCHANGED = """
UPDATE cases SET state = 'done', code = '', message = '', alone = 0, ended_at = :now
  WHERE "case" = :case
"""
_NOT_DONE = """
UPDATE cases SET state = :state, code = :code, message = :message, attempts = :attempts,
  alone = :alone, content = :content, ended_at = :now WHERE "case" = :case
"""
_TOOK_PLACE = """
UPDATE cases SET superseded_by = :case WHERE "case" != :case AND superseded_by = '' AND (
  (folder = :folder AND state = 'done') OR (lineage = :lineage AND model = :model
    AND settings = :settings AND state IN ('refused', 'failed') AND code != 'PART_OF_ANOTHER'))
"""
_LOST_PLACE = """
UPDATE cases SET content = '' WHERE folder = :folder AND "case" != :case AND state != 'done'
"""


@dataclass(frozen=True)
class Committer:
    """Where results of leased cases end."""

    ledger: Ledger
    places: Places
    attempts: int  # how often a case may fail before it is left

    def settle(self, result: Result) -> Row | None:
        """Write down what became of a case, and publish its results.

        Returns the case; its state is ``"waiting"`` when it will be tried again. None when the
        lease is over: then the result, which comes late, counts for nothing. Raises `WriteError`
        when the disk is full or nothing can be written; the case is leased as before.
        """
        with self.ledger.writing() as db, as_write_error(self.places.output):
            row = _leased(db, result.case, result.token)
            if row is not None:
                self._conclude(db, row, result)
        publish.discard(self.places, [result.token])
        return self.ledger.row(result.case) if row else None

    def settle_death(self, leases: Sequence[tuple[str, str]], fault: Fault) -> list[Row]:
        """Write down that a worker died with cases in flight.

        When it had one case in flight, that is the one to blame. Of several nobody knows; they are
        tried again, each alone, and it costs none of them an attempt.
        """
        with self.ledger.writing() as db:
            rows = [row for pair in leases if (row := _leased(db, *pair))]
            for row in rows:
                attempts = row.attempts + (len(leases) == 1)
                self._fail(db, row, fault, alone=True, attempts=attempts)
        publish.discard(self.places, [token for _, token in leases])
        return [self.ledger.row(row.case) for row in rows]

    def _conclude(self, db: sqlite3.Connection, row: Row, result: Result) -> None:
        if result.state == "failed":
            fault = result.fault or Fault(code="FAILED", message="it failed without a reason")
            self._fail(db, row, fault, alone=row.alone, attempts=row.attempts + 1)
        elif result.state == "refused":
            self._refuse(db, row, result)
        elif result.unchanged:
            db.execute(_UNCHANGED, {"case": row.case, "now": time.time()})
        else:
            self._publish(db, row, result)

    def _publish(self, db: sqlite3.Connection, row: Row, result: Result) -> None:
        if fault := self._move_to_final(row, result):
            self._fail(db, row, fault, alone=row.alone, attempts=row.attempts + 1)
            return
        names = ("case", "folder", "lineage", "model", "settings", "attempts")
        values = {name: getattr(row, name) for name in names} | {
            "content": result.content,
            "volumes": _json(result.volumes_ml),
            "warnings": _json(result.warnings),
            "seconds": _json(result.seconds),
            "now": time.time(),
        }
        for sql in (_DONE, _TOOK_PLACE, _LOST_PLACE):
            db.execute(sql, values)

    def _move_to_final(self, row: Row, result: Result) -> Fault | None:
        """Bring results to their place, where they may be already; or say why not."""
        published = read_record(self.places.final(row.folder))
        if published is not None and published.token == result.token:
            return None
        record = read_record(self.places.staged(result.token))
        if record is None or (record.case, record.token) != (row.case, row.token):
            return Fault(
                code="INCOMPLETE",
                message="the worker told of results that are not in the staging folder; look at the"
                " disk",
            )
        publish.publish(self.places, msgspec.structs.replace(record, folder=row.folder))
        return None

    def _refuse(self, db: sqlite3.Connection, row: Row, result: Result) -> None:
        """Refuse what was read; results of what was there before it are no longer true of it."""
        fault = result.fault or Fault(code="REFUSED", message="it was refused without a reason")
        if row.content:
            publish.withdraw(self.places, row.folder)
        values = {"case": row.case, "state": "refused", "content": "", "attempts": row.attempts}
        self._write(db, values, fault, alone=False)

    def _fail(
        self, db: sqlite3.Connection, row: Row, fault: Fault, *, alone: bool, attempts: int
    ) -> None:
        """Let a case wait for the next attempt, or leave it after the last."""
        state = "failed" if attempts >= self.attempts else "waiting"
        values = {"case": row.case, "state": state, "content": row.content, "attempts": attempts}
        self._write(db, values, fault, alone=alone)

    @staticmethod
    def _write(
        db: sqlite3.Connection, values: dict[str, object], fault: Fault, *, alone: bool
    ) -> None:
        more = {"code": fault.code, "message": fault.message, "alone": alone, "now": time.time()}
        db.execute(_NOT_DONE, values | more)


def _leased(db: sqlite3.Connection, case: str, token: str) -> Row | None:
    """The case, if it is leased under this token."""
    sql = "SELECT * FROM cases WHERE \"case\" = ? AND token = ? AND state = 'leased'"
    record = db.execute(sql, [case, token]).fetchone()
    return row_of(record) if record else None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
