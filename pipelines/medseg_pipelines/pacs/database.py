"""State of the spool in SQLite: digests, counts, codes and times; no patient text."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from medseg.errors import WriteError
from medseg_pipelines.pacs.validate import ReceivedObject, digest

SeriesState = Literal["receiving", "ready", "done", "refused", "failed"]
DeliveryState = Literal["waiting", "delivered", "sent", "failed", "superseded"]

_TRIED = """attempts INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0,
  code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT ''"""
_TABLES = f"""
CREATE TABLE IF NOT EXISTS series (
  series TEXT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'receiving', first_at REAL NOT NULL,
  last_at REAL NOT NULL, objects INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
  conflicts INTEGER NOT NULL DEFAULT 0, expected INTEGER, generation INTEGER NOT NULL DEFAULT 0,
  {_TRIED}) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS series_by_state ON series (state);
CREATE TABLE IF NOT EXISTS objects (
  series TEXT NOT NULL, instance TEXT NOT NULL, content TEXT NOT NULL, picture TEXT NOT NULL,
  bytes INTEGER NOT NULL, PRIMARY KEY (series, instance)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
  delivery TEXT PRIMARY KEY, series TEXT NOT NULL, folder TEXT NOT NULL, file TEXT NOT NULL,
  content TEXT NOT NULL, peer TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
  sent TEXT NOT NULL DEFAULT '', supersedes TEXT NOT NULL DEFAULT '', at REAL NOT NULL,
  {_TRIED}) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state);
"""
_ADDED = """
INSERT OR IGNORE INTO objects VALUES (:series, :instance, :content, :picture, :size)
"""
_GROWN = """
INSERT INTO series (series, first_at, last_at) VALUES (:series, :now, :now)
  ON CONFLICT (series) DO NOTHING;
UPDATE series SET state = 'receiving', last_at = :now, objects = objects + 1,
  bytes = bytes + :size, generation = generation + 1, expected = NULL, attempts = 0, next_at = 0,
  code = '', message = '' WHERE series = :series
"""
_RECOUNTED = """
UPDATE series SET (objects, bytes) =
  (SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM objects o WHERE o.series = series.series)
"""
_QUEUED = """
INSERT OR IGNORE INTO deliveries (delivery, series, folder, file, content, peer, at, supersedes)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, COALESCE((SELECT delivery FROM deliveries
    WHERE series = ?2 AND folder = ?3 AND file = ?4 AND peer = ?6 AND state IN ('delivered', 'sent')
    ORDER BY at DESC LIMIT 1), ''))
"""
_SUPERSEDED = """
UPDATE deliveries SET state = 'superseded' WHERE series = ? AND folder = ? AND file = ?
  AND peer = ? AND delivery != ? AND state IN ('waiting', 'failed')
"""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried until it ends well or as a dead letter."""

    series: str
    attempts: int
    next_at: float  # when it is tried again, seconds since 1970
    code: str  # why it waits, or is refused or failed
    message: str

    @property
    def kind(self) -> str:
        """What it is, for people."""
        return "delivery" if isinstance(self, Delivery) else "series"

    @property
    def name(self) -> str:
        """Its digest."""
        return self.delivery if isinstance(self, Delivery) else self.series


class SeriesRow(Job, frozen=True):
    """One series of the spool."""

    state: SeriesState
    objects: int
    bytes: int
    conflicts: int  # objects with the UID of another and other pixels
    expected: int | None
    generation: int  # counts each object once: it tells a series that grew
    first_at: float
    last_at: float


class Delivery(Job, frozen=True):
    """One file for one peer."""

    delivery: str  # digest: the same file for the same peer is one delivery
    folder: str  # below the results of the series
    file: str
    content: str  # SHA-256 of the file
    peer: str
    state: DeliveryState  # sent to a peer that cannot be asked; superseded before it went
    sent: str  # "binary" when it was written in this encoding for the peer
    supersedes: str  # the delivery that it takes the place of
    at: float  # of the last change


class Database:
    """Connection to the state, for all threads of a process; other processes may have theirs."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        with self._explained():
            self._connection = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_TABLES)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction, alone among threads and processes."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:  # commits, or rolls back
                yield self._connection

    def series(self, *states: SeriesState, name: str = "") -> list[SeriesRow]:
        """Series of some states, or of all; or the one of that name."""
        column, values = ("series", (name,)) if name else ("state", states)
        rows = self._rows("series", column, values, order="first_at, series")
        return [msgspec.convert(row, SeriesRow) for row in rows]

    def deliveries(self, *states: DeliveryState) -> list[Delivery]:
        """Deliveries of some states, or all, in the order in which they were noted."""
        rows = self._rows("deliveries", "state", states, order="at, folder, file")
        return [msgspec.convert(row, Delivery) for row in rows]

    def digests(self, series: str, instance: str) -> tuple[str, str] | None:
        """Of content and picture of an object that is here."""
        query = "SELECT content, picture FROM objects WHERE series = ? AND instance = ?"
        rows = self._fetch(query, series, instance)
        return (rows[0]["content"], rows[0]["picture"]) if rows else None

    def objects(self) -> set[tuple[str, str]]:
        """Series and instance of each object."""
        return set(map(tuple, self._fetch("SELECT series, instance FROM objects")))

    def add_object(self, received: ReceivedObject) -> None:
        """Note an object; with a new one its series waits for silence again."""
        values = msgspec.structs.asdict(received) | {"now": time.time()}
        with self.transaction() as connection:
            if connection.execute(_ADDED, values).rowcount:
                for statement in _GROWN.split(";"):
                    connection.execute(statement, values)

    def remove_objects(self, names: set[tuple[str, str]]) -> None:
        """Remove objects, by series and instance, whose files are gone."""
        query = "DELETE FROM objects WHERE series = ? AND instance = ?"
        with self.transaction() as connection:
            connection.executemany(query, sorted(names))
            connection.execute(_RECOUNTED)

    def add_delivery(self, series: str, folder: str, file: str, content: str, peer: str) -> bool:
        """Note that a file is to be sent, in place of older ones; False when it was before."""
        name = digest("delivery", series, folder, file, content, peer)
        values = (name, series, folder, file, content, peer, time.time())
        with self.transaction() as connection:
            is_new = connection.execute(_QUEUED, values).rowcount == 1
            if is_new:
                connection.execute(_SUPERSEDED, (series, folder, file, peer, name))
        return is_new

    def set_state(
        self, row: SeriesRow | Delivery, state: SeriesState | DeliveryState, **more: object
    ) -> bool:
        """Set the state unless that, or the series, changed since `row` was read; whether it did.

        `more` are columns, such as ``code`` and ``next_at``, that are blank when not given.
        """
        columns = {"state": state, "code": "", "message": "", "attempts": 0, "next_at": 0.0} | more
        if isinstance(row, SeriesRow):
            where = {"series": row.series, "generation": row.generation}
            return self.update("series", columns, where)
        columns["at"] = time.time()
        return self.update("deliveries", columns, {"delivery": row.delivery, "state": row.state})

    def update(
        self, table: str, columns: Mapping[str, object], where: Mapping[str, object]
    ) -> bool:
        """Set columns of one row; whether there was one."""
        changes = ", ".join(f"{column} = ?" for column in columns)
        matching = " AND ".join(f"{column} = ?" for column in where)
        query = f"UPDATE {table} SET {changes} WHERE {matching}"  # noqa: S608
        with self.transaction() as connection:
            return connection.execute(query, (*columns.values(), *where.values())).rowcount == 1

    def _rows(
        self, table: str, column: str, values: Sequence[str], *, order: str
    ) -> list[dict[str, Any]]:
        """Rows with one of some values, or all."""
        where = f"WHERE {column} IN ({', '.join('?' * len(values))})" if values else ""
        query = f"SELECT * FROM {table} {where} ORDER BY {order}"  # noqa: S608
        return list(map(dict, self._fetch(query, *values)))

    def _fetch(self, query: str, *values: str) -> list[sqlite3.Row]:
        with self._lock, self._explained():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise WriteError(
                f"the state of the spool cannot be kept: {error}; free some space, or check who"
                " may write there",
                code="STATE",
            ) from error
