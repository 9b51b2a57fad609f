"""Cases in flight and what becomes of them: results into their place and the ledger, or neither.

Whatever is leased when a run starts, a dead run left.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from medseg_pipelines.batch.ledger import publish
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger, Row, RunConfig, row_of
from medseg_pipelines.batch.ledger.provenance import CaseRecord, read_record, record_in
from medseg_pipelines.batch.ledger.run_lock import Shard
from medseg_pipelines.batch.ledger.storage_errors import as_write_error
from medseg_pipelines.batch.messages import Fault, Result
from medseg_pipelines.batch.result_files import CASE_FILE

_NEXT = """
SELECT "case" FROM cases WHERE model = ? AND settings = ? AND state = 'waiting'
  AND superseded_by = '' AND slot % ? = ? ORDER BY alone, rowid LIMIT ?
"""
_LEASE = """
UPDATE cases SET state = 'leased', owner = ?, token = ?, started_at = ? WHERE "case" = ?
  RETURNING *
"""
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
class Leases:
    """Leases of the run that holds the lock of a share of the archive."""

    ledger: Ledger
    run_config: RunConfig
    shard: Shard = (1, 1)

    @property
    def owner(self) -> str:
        """Name of the share, as the ledger and the scratch folder have it."""
        return f"{self.shard[0]}-of-{self.shard[1]}"

    def take(self, count: int) -> list[Row]:
        """Lease waiting cases, each with a new token; those that may end a worker come last."""
        (k, n), config, now = self.shard, self.run_config, time.time()
        with self.ledger.writing() as db:
            names = db.execute(_NEXT, [config.model, config.settings, n, k - 1, count]).fetchall()
            return [
                row_of(db.execute(_LEASE, [self.owner, uuid.uuid4().hex, now, name]).fetchone())
                for (name,) in names
            ]

    def orphaned(self) -> list[Row]:
        """Cases that a run which is no more had leased, with whichever model and settings."""
        k, n = self.shard
        return self.ledger.select("state = 'leased' AND slot % ? = ?", [n, k - 1])

    def give_back(self, tokens: Sequence[str]) -> None:
        """Let cases wait again, as if they had not been taken."""
        sql = "UPDATE cases SET state = 'waiting' WHERE token = ? AND state = 'leased'"
        with self.ledger.writing() as db:
            db.executemany(sql, [(token,) for token in tokens])

    def give_back_all(self) -> None:
        """The same with every case of the share that is leased."""
        self.give_back([row.token for row in self.orphaned()])


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
                self._fail(db, row, fault, attempts=row.attempts + (len(leases) == 1), alone=True)
        publish.discard(self.places, [token for _, token in leases])
        return [self.ledger.row(row.case) for row in rows]

    def _conclude(self, db: sqlite3.Connection, row: Row, result: Result) -> None:
        if result.state == "refused":
            if row.content:  # results of what was there before are no longer true of it
                publish.withdraw(self.places, row.folder)
            fault = result.fault or Fault(code="REFUSED", message="it was refused without a reason")
            values = {"state": "refused", "content": "", "alone": False}
            _update(db, _NOT_DONE, row, code=fault.code, message=fault.message, **values)
        elif result.state == "done" and result.unchanged:
            _update(db, _UNCHANGED, row)
        elif failure := self._failure(row, result):
            self._fail(db, row, failure, alone=row.alone, attempts=row.attempts + 1)
        else:
            encoded = {
                "volumes": msgspec.json.encode(result.volumes_ml).decode(),
                "warnings": msgspec.json.encode(result.warnings).decode(),
                "seconds": msgspec.json.encode(result.seconds).decode(),
            }
            for sql in (_DONE, _TOOK_PLACE, _LOST_PLACE):
                _update(db, sql, row, content=result.content, **encoded)

    def _failure(self, row: Row, result: Result) -> Fault | None:
        """Why a case has failed; None once its results are in their place."""
        if result.state == "failed":
            return result.fault or Fault(code="FAILED", message="it failed without a reason")
        published = record_in(self.places.file(row.folder, CASE_FILE))
        if published is not None and published.token == result.token:
            return None
        record = _staged_record(self.places, row)
        if record is None:
            return Fault(
                code="INCOMPLETE",
                message="the worker told of results that are not in the staging folder; look at the"
                " disk",
            )
        publish.publish(self.places, msgspec.structs.replace(record, folder=row.folder))
        return None

    def _fail(
        self, db: sqlite3.Connection, row: Row, fault: Fault, *, alone: bool, attempts: int
    ) -> None:
        """Let a case wait for the next attempt, or leave it after the last."""
        state = "failed" if attempts >= self.attempts else "waiting"
        values = {"state": state, "attempts": attempts, "alone": alone}
        _update(db, _NOT_DONE, row, code=fault.code, message=fault.message, **values)


def recover(committer: Committer, leases: Leases) -> list[Row]:
    """Take up the cases of a dead run, and remove its unfinished files.

    A case whose results are whole, in their place or not yet, is done; another waits again.
    Returns the cases that turned out to be done.
    """
    places, adopted = committer.places, []
    for row in leases.orphaned():
        record = record_in(places.file(row.folder, CASE_FILE))
        if record is None or record.token != row.token:
            record = _staged_record(places, row)
            if record is None or not publish.is_complete(places, record):
                leases.give_back([row.token])
                continue
        if settled := committer.settle(record.result):
            adopted.append(settled)
    # Listed before the ledger is asked: what other shares stage after that is not touched.
    staged = {path.name.partition(".")[0] for path in places.staging.iterdir()}
    leased = {row.token for row in committer.ledger.rows(states=["leased"], superseded=True)}
    publish.discard(places, staged - leased)
    return adopted


def _staged_record(places: Places, row: Row) -> CaseRecord | None:
    """The record of a lease's staged results."""
    record = read_record(places.staged(row.token))
    return record if record and (record.case, record.token) == (row.case, row.token) else None


def _update(db: sqlite3.Connection, sql: str, row: Row, **changes: object) -> None:
    """Change a case, with the values of its row where no others are given."""
    db.execute(sql, msgspec.structs.asdict(row) | {"now": time.time()} | changes)


def _leased(db: sqlite3.Connection, case: str, token: str) -> Row | None:
    """The case, if it is leased under this token."""
    sql = "SELECT * FROM cases WHERE \"case\" = ? AND token = ? AND state = 'leased'"
    record = db.execute(sql, [case, token]).fetchone()
    return row_of(record) if record else None
