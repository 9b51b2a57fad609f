"""State of the spool in SQLite: digests, counts, codes and times; no patient text."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from medseg.errors import WriteError

SeriesState = Literal["receiving", "ready", "done", "refused", "dead"]

_TABLES = """
CREATE TABLE IF NOT EXISTS series (
  series TEXT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'receiving',
  first_at REAL NOT NULL, last_at REAL NOT NULL, expected INTEGER, generation INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0,
  code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS series_by_state ON series (state);
CREATE TABLE IF NOT EXISTS objects (
  series TEXT NOT NULL, instance TEXT NOT NULL, content TEXT NOT NULL, picture TEXT NOT NULL,
  bytes INTEGER NOT NULL, PRIMARY KEY (series, instance)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS apart (
  series TEXT NOT NULL, instance TEXT NOT NULL, content TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (series, instance, content)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
  delivery TEXT PRIMARY KEY, series TEXT NOT NULL, folder TEXT NOT NULL, file TEXT NOT NULL,
  content TEXT NOT NULL, peer TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
  sent TEXT NOT NULL DEFAULT '', supersedes TEXT NOT NULL DEFAULT '', at REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0,
  code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state);
"""
_COUNTED = """
SELECT s.*, COUNT(o.instance) AS objects, COALESCE(SUM(o.bytes), 0) AS bytes,
  (SELECT COUNT(*) FROM apart a WHERE a.series = s.series) AS apart
FROM series s LEFT JOIN objects o ON o.series = s.series {where} GROUP BY s.series
ORDER BY s.first_at, s.series
"""


class SeriesRow(msgspec.Struct, frozen=True, kw_only=True):
    """One series of the spool.

    Parameters
    ----------
    series : str
    state : {"receiving", "ready", "done", "refused", "dead"}
        A refusal waits for another slice; a dead letter for a person.
    objects, bytes : int
    apart : int
        Objects with the UID of another and other pixels, kept beside the series.
    expected : int or None
    generation : int
        How many objects there were, each counted once: it tells a series that grew.
    first_at, last_at : float
        When the first and the last object came, seconds since 1970.
    attempts : int
    next_at : float
        When it is tried again.
    code, message : str
        Why it waits, or is refused or dead.
    """

    series: str
    state: SeriesState
    objects: int
    bytes: int
    apart: int
    expected: int | None
    generation: int
    first_at: float
    last_at: float
    attempts: int
    next_at: float
    code: str
    message: str


class Register:
    """Connection to the state, for all threads of a process; other processes may have theirs.

    Parameters
    ----------
    path : Path
        The database, made when missing.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_TABLES)
        except sqlite3.Error as error:
            raise _told(error) from error

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, alone among threads and processes."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise _told(error) from error

    def rows(self, query: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """What a query finds."""
        with self._lock:
            try:
                return [dict(row) for row in self._connection.execute(query, values)]
            except sqlite3.Error as error:
                raise _told(error) from error

    def series(self, *states: SeriesState, name: str = "") -> list[SeriesRow]:
        """Series of some states, or of all; or the one of that name."""
        where, values = "", list[object]()
        if name:
            where, values = "WHERE s.series = ?", [name]
        elif states:
            where, values = f"WHERE s.state IN ({', '.join('?' * len(states))})", [*states]
        rows = self.rows(_COUNTED.format(where=where), values)
        return [msgspec.convert(row, type=SeriesRow) for row in rows]

    def size(self, series: str) -> tuple[int, int]:
        """How many objects and bytes a series has."""
        (row,) = self.rows(
            "SELECT COUNT(*) AS objects, COALESCE(SUM(bytes), 0) AS bytes FROM objects"
            " WHERE series = ?",
            (series,),
        )
        return row["objects"], row["bytes"]

    def known(self, series: str, instance: str) -> tuple[str, str] | None:
        """Digests of content and picture of an object that is here."""
        rows = self.rows(
            "SELECT content, picture FROM objects WHERE series = ? AND instance = ?",
            (series, instance),
        )
        return (rows[0]["content"], rows[0]["picture"]) if rows else None

    def settle(
        self,
        row: SeriesRow,
        state: SeriesState,
        *,
        code: str = "",
        message: str = "",
        attempts: int = 0,
        next_at: float = 0.0,
    ) -> bool:
        """Set the state of a series, unless it grew since `row` was read.

        Returns
        -------
        bool
            Whether it was set.
        """
        with self.changing() as connection:
            done = connection.execute(
                "UPDATE series SET state = ?, code = ?, message = ?, attempts = ?, next_at = ?"
                " WHERE series = ? AND generation = ?",
                (state, code, message, attempts, next_at, row.series, row.generation),
            )
        return done.rowcount == 1

    def requeue(self, row: SeriesRow) -> None:
        """Let a dead or refused series be segmented again, with what there is of it."""
        with self.changing() as connection:
            connection.execute(
                "UPDATE series SET state = 'ready', attempts = 0, next_at = 0, code = '',"
                " message = '' WHERE series = ? AND state IN ('dead', 'refused')",
                (row.series,),
            )

    def expect(self, series: str, count: int | None) -> None:
        """Note how many objects a peer counts."""
        with self.changing() as connection:
            connection.execute("UPDATE series SET expected = ? WHERE series = ?", (count, series))

    def touch(self, series: str) -> None:
        """Note that something of a series came, although nothing new."""
        with self.changing() as connection:
            connection.execute(
                "UPDATE series SET last_at = ? WHERE series = ? AND state = 'receiving'",
                (time.time(), series),
            )


def _told(error: sqlite3.Error) -> WriteError:
    return WriteError(
        f"the state of the spool cannot be kept: {error}; free some space, or check who may write"
        " there",
        code="STATE",
    )
