"""The ledger: one row for each case, and the only truth about what became of it.

SQLite, with each commit on the disk before it counts. No write-ahead log: that needs memory which
all who write share, and shares of an archive may run on several machines.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from medseg.errors import InputError
from medseg.model_package import ModelPackage
from medseg.workflows.record import model_digest
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.storage_errors import BUSY_SECONDS, sqlite_error
from medseg_pipelines.batch.messages import Row, Settings, State

__all__ = ["AllCases", "Ledger", "Row", "RunConfig", "row_of"]

SCHEMA_VERSION = 2
_AT_ONCE = 2000  # cases that are read together
_APPLICATION = 0x6D656473  # "meds", so that `file` knows it
_PRAGMAS = ("journal_mode = DELETE", "synchronous = FULL")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cases (
  "case" TEXT PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, settings TEXT NOT NULL,
  lineage TEXT NOT NULL, folder TEXT NOT NULL, slot INTEGER NOT NULL,
  signature TEXT NOT NULL, content TEXT NOT NULL DEFAULT '', found TEXT NOT NULL,
  state TEXT NOT NULL, code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '',
  chosen INTEGER NOT NULL DEFAULT 1, min_slices INTEGER NOT NULL DEFAULT 1,
  attempts INTEGER NOT NULL DEFAULT 0, alone INTEGER NOT NULL DEFAULT 0,
  owner TEXT NOT NULL DEFAULT '', token TEXT NOT NULL DEFAULT '',
  volumes TEXT NOT NULL DEFAULT '{}', warnings TEXT NOT NULL DEFAULT '[]',
  seconds TEXT NOT NULL DEFAULT '{}',
  queued_at REAL NOT NULL, started_at REAL NOT NULL DEFAULT 0, ended_at REAL NOT NULL DEFAULT 0,
  superseded_by TEXT NOT NULL DEFAULT '', UNIQUE (key, model, settings)
);
CREATE INDEX IF NOT EXISTS cases_by_state ON cases (model, settings, state, superseded_by);
CREATE INDEX IF NOT EXISTS cases_waiting ON cases (model, settings, alone)
  WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS cases_leased ON cases (owner) WHERE state = 'leased';
CREATE INDEX IF NOT EXISTS cases_by_folder ON cases (folder);
CREATE INDEX IF NOT EXISTS cases_by_lineage ON cases (lineage);
DROP TABLE IF EXISTS owners; -- of version 1, when several runs shared cases
"""
_PORTION = (
    "SELECT rowid AS number, * FROM cases WHERE rowid > ? AND (superseded_by = '' OR ?)"
    " ORDER BY rowid LIMIT ?"
)


_LATER = ("roi_from", "roi_margin_mm")


class RunConfig(msgspec.Struct, frozen=True):
    """Digests of one model and one set of settings; with the scan they make a case."""

    model: str
    settings: str

    @classmethod
    def of(cls, package: ModelPackage, settings: Settings) -> Self:
        """That of a model package and settings."""
        named = msgspec.to_builtins(settings)
        for name in _LATER:  # so that a ledger from before they were settings knows its cases
            if named[name] is None:
                del named[name]
        text = msgspec.json.encode(named, order="sorted")
        return cls(model_digest(package), hashlib.sha256(text).hexdigest())

    def case(self, key: str) -> str:
        """Name of the case of the scan with this key: 32 hexadecimal digits."""
        return hashlib.sha256(f"{key}\n{self.model}\n{self.settings}".encode()).hexdigest()[:32]


class Ledger:
    """An open ledger, for one thread; the file is made when it is not there, its folder must be.

    Raises `WriteError` when it cannot be written, `InputError` when the file is no ledger, or one
    of a newer medseg.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._readable_errors():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
            self._db.row_factory = sqlite3.Row
        try:
            with self._readable_errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def of(cls, output: Path) -> Self:
        """The ledger of an output folder; raises `InputError` when there is none."""
        path = Places(output).ledger
        if not path.is_file():
            inner = sorted(file.parents[1].name for file in output.glob("*/.medseg/ledger.sqlite"))
            one_of = f", or the folder of one model in it: {', '.join(inner)}" if inner else ""
            raise InputError(
                f"'{output}' holds no batch; give the --output of a `medseg batch`{one_of}",
                code="NO_LEDGER",
            )
        return cls(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process writes beside; an exception undoes it.

        Raises `WriteError` when the disk is full or the file cannot be written, `MedsegError` when
        another process held the ledger for too long.
        """
        with self._readable_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The rows as they are at one moment; others may write meanwhile."""
        with self._readable_errors():
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.execute("ROLLBACK")

    def select(self, condition: str, values: Sequence[Any], *, limit: int = -1) -> list[Row]:
        """Cases that fulfil a condition of SQL, in the order in which they were queued."""
        sql = f"SELECT * FROM cases WHERE {condition} ORDER BY rowid LIMIT ?"  # noqa: S608
        return [row_of(record) for record in self._query(sql, [*values, limit])]

    def find(self, case: str) -> list[Row]:
        """Cases whose name, scan's key or folder begins so; nothing is a wildcard."""
        names = ('"case"', "key", "folder")
        begins = " OR ".join(f"substr({name}, 1, ?) = ?" for name in names)
        return self.select(begins, [len(case), case] * len(names)) if case else []

    def row(self, case: str) -> Row:
        """The case of this name; raises `InputError` when there is none."""
        rows = self.select('"case" = ?', [case])
        if not rows:
            raise InputError(f"the ledger has no case '{case}'", code="NO_CASE")
        return rows[0]

    def rows(
        self,
        *,
        run_config: RunConfig | None = None,
        states: Sequence[State] = (),
        superseded: bool = False,
        limit: int = -1,
    ) -> list[Row]:
        """Cases of these states, or all; without superseded ones unless asked."""
        where, values = _condition(run_config, superseded=superseded)
        if states:
            where += f" AND state IN ({', '.join('?' * len(states))})"
            values += states
        return self.select(where, values, limit=limit)

    def places(self) -> dict[str, str]:
        """Places of results of all scans that it ever had, by lineage, the first scan first."""
        return dict(map(tuple, self._query("SELECT lineage, folder FROM cases ORDER BY rowid", [])))

    def counts(self, *, run_config: RunConfig | None = None) -> dict[State, int]:
        """How many cases are in each state, without those that others took the place of."""
        where, values = _condition(run_config, superseded=False)
        states: tuple[State, ...] = ("waiting", "leased", "done", "refused", "failed")
        counted = dict.fromkeys(states, 0)
        sql = f"SELECT state, count(*) FROM cases WHERE {where} GROUP BY state"  # noqa: S608
        return counted | dict(map(tuple, self._query(sql, values)))

    def codes(self, *, run_config: RunConfig | None = None) -> dict[State, dict[str, int]]:
        """How many cases were refused and have failed with each code, the most frequent first."""
        where, values = _condition(run_config, superseded=False)
        sql = (
            f"SELECT state, code, count(*) FROM cases WHERE {where}"  # noqa: S608
            " AND state IN ('refused', 'failed') GROUP BY state, code ORDER BY count(*) DESC, code"
        )
        counted: dict[State, dict[str, int]] = {"refused": {}, "failed": {}}
        for state, code, count in self._query(sql, values):
            counted[state][code] = count
        return counted

    def superseded(self) -> int:
        """How many results others took the place of."""
        (count,) = self._query("SELECT count(*) FROM cases WHERE superseded_by != ''", [])[0]
        return int(count)

    def retry(self, *, codes: Sequence[str] = (), refused: bool = False) -> int:
        """Let failed cases (with one of these codes, and refused ones too) wait; how many do."""
        states = ("failed", "refused") if refused else ("failed",)
        where = f"state IN ({', '.join('?' * len(states))}) AND chosen"
        if codes:
            where += f" AND code IN ({', '.join('?' * len(codes))})"
        sql = f"UPDATE cases SET state = 'waiting', attempts = 0 WHERE {where}"  # noqa: S608
        with self.writing() as db:
            return db.execute(sql, [*states, *codes]).rowcount

    def _query(self, sql: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        with self._readable_errors():
            return self._db.execute(sql, values).fetchall()

    def _prepare(self) -> None:
        """Check that it is a ledger, and make its tables where they are not there."""
        for pragma in _PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        ours, version = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        if ours == _APPLICATION and version == SCHEMA_VERSION:
            return
        if ours not in (0, _APPLICATION) or version > SCHEMA_VERSION:
            raise InputError(
                f"'{self.path}' is a ledger of version {version}, this medseg knows"
                f" {SCHEMA_VERSION}; use the medseg that made it or another output folder",
                code="LEDGER_VERSION",
            )
        marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {SCHEMA_VERSION};"
        self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {marks} COMMIT;")

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """Turn what SQLite raises into one sentence."""
        try:
            yield
        except sqlite3.Error as error:
            raise sqlite_error(error, self.path) from error


class AllCases:
    """Every case, in the order in which they were queued, again and again: there may be a million.

    They are read in portions, between which others may write: what changes meanwhile is seen
    before or after the change. Superseded ones are left out unless asked for.
    """

    def __init__(self, output: Path, *, superseded: bool = False) -> None:
        self._output, self._superseded = output, superseded

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        """Go through the cases, each with a number that stays its own."""
        last = 0
        with Ledger.of(self._output) as ledger:
            while True:
                with ledger.reading() as db:
                    portion = db.execute(_PORTION, [last, self._superseded, _AT_ONCE]).fetchall()
                for record in portion:
                    yield record["number"], row_of(record)
                if len(portion) < _AT_ONCE:
                    return
                last = portion[-1]["number"]


def _condition(run_config: RunConfig | None, *, superseded: bool) -> tuple[str, list[Any]]:
    """A condition of SQL and its values."""
    where = "1" if superseded else "superseded_by = ''"
    if run_config is None:
        return where, []
    return f"{where} AND model = ? AND settings = ?", [run_config.model, run_config.settings]


def row_of(record: sqlite3.Row) -> Row:
    """A row as the ledger stores it, decoded."""
    values: dict[str, Any] = dict(record)
    decode = msgspec.json.decode
    plain = {name: values[name] for name in Row.__struct_fields__ if name in values}
    decoded = {
        "scan_json": values["found"],
        "selected": bool(values["chosen"]),
        "alone": bool(values["alone"]),
        "volumes_ml": decode(values["volumes"], type=dict[str, float]),
        "warnings": decode(values["warnings"], type=tuple[str, ...]),
        "seconds": decode(values["seconds"], type=dict[str, float]),
    }
    return Row(**plain | decoded)
