"""The index of an archive: what its files hold, so that nothing is read twice.

It knows no patient text: of each file its path, size, time of change and the unit it belongs to;
of each unit (a series, an archive, a file) the scans in it. It is worth nothing but time, so a
damaged one, or one of another version or folder, is thrown away.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from medseg_pipelines.batch.archive.case_keys import listing_digest
from medseg_pipelines.batch.archive.walk import Entry
from medseg_pipelines.batch.messages import ScanRecord

_VERSION = 3
_WAIT_S = 60.0
_SCHEMA = """
CREATE TABLE archive (root BLOB NOT NULL);
CREATE TABLE folders (path BLOB PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (folder BLOB NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL,
    changed INTEGER NOT NULL, unit TEXT NOT NULL, check_sum INTEGER NOT NULL,
    PRIMARY KEY (folder, name)) WITHOUT ROWID;
CREATE INDEX files_of_units ON files (unit) WHERE unit != '';
CREATE TABLE units (unit TEXT PRIMARY KEY, listing TEXT NOT NULL, check_sum TEXT NOT NULL,
    content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE patients (patient TEXT PRIMARY KEY, first_study TEXT NOT NULL) WITHOUT ROWID;
"""
_FILES = "SELECT folder, name, size, changed, unit, check_sum FROM files"

Row = tuple[bytes, bytes, int, int, str]
"""Folder, name, size, time of change and unit of a file."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scan of a unit."""

    scan: ScanRecord  # with its path from the root, and still without a folder
    patient: str = ""  # digest, as `study` is; empty where blank
    study: str = ""
    is_picture: bool = False  # left out unless asked for
    text_source: str = ""  # the file whose header has its free text, from the root


class Unit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scans in files that belong together."""

    parts: tuple[Part, ...]
    folders: tuple[str, ...]  # where its files lie, from the root


_DECODER = msgspec.json.Decoder(Unit)


class DamagedIndex(Exception):  # noqa: N818
    """The index does not say what was written into it."""


class Index:
    """An open index; changes last from :meth:`commit` on."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self.commit = connection.commit

    def claim(self, root: bytes) -> None:
        """Make it the index of this root; raises `DamagedIndex` when it is another's."""
        owner = self._sql.execute("SELECT root FROM archive").fetchone()
        if owner is None:
            self._sql.execute("INSERT INTO archive VALUES (?)", (root,))
        elif owner[0] != root:
            raise DamagedIndex("of another folder")

    def folders(self) -> dict[bytes, str]:
        """The digest of each folder that was looked through; empty when not to the end."""
        return dict(self._sql.execute("SELECT path, digest FROM folders"))

    def put_folders(self, digests: Iterable[tuple[bytes, str]]) -> None:
        """Take down that folders were looked through to the end."""
        self._sql.executemany("INSERT OR REPLACE INTO folders VALUES (?, ?)", digests)

    def open_folder(self, folder: bytes, lost: Iterable[bytes] = ()) -> None:
        """Begin to look through a folder anew, without some files of it."""
        self.put_folders([(folder, "")])
        gone = "DELETE FROM files WHERE folder = ? AND name = ?"
        self._sql.executemany(gone, [(folder, name) for name in lost])

    def drop_folder(self, folder: bytes) -> None:
        """Forget a folder without files."""
        self._sql.execute("DELETE FROM folders WHERE path = ?", (folder,))

    def files_in(self, folder: bytes) -> dict[Entry, str]:
        """The unit of each file in a folder."""
        rows = self._checked(f"{_FILES} WHERE folder = ?", folder)
        return {(name, size, changed): unit for _, name, size, changed, unit in rows}

    def files_of(self, unit: str) -> list[Row]:
        """The files of a unit, sorted by path."""
        rows = self._checked(f"{_FILES} WHERE unit = ?", unit)
        return sorted(rows, key=lambda row: (row[0].split(b"/"), row[1]))

    def checked_files_of(self, unit: str) -> list[Row]:
        """The same; raises `DamagedIndex` when they are not those that the unit was read from."""
        rows = self.files_of(unit)
        if listing_of(rows) != self.listing_of(unit):
            raise DamagedIndex(unit)
        return rows

    def put_file(self, row: Row) -> None:
        """Take down a file as it is now."""
        values = (*row, _row_sum(row))
        self._sql.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", values)

    def listing_of(self, unit: str) -> str:
        """Digest of the files that a unit was read from; empty when it was not."""
        row = self._sql.execute("SELECT listing FROM units WHERE unit = ?", (unit,)).fetchone()
        return str(row[0]) if row else ""

    def put_unit(self, unit: str, listing: str, content: Unit) -> None:
        """Take down the scans of a unit."""
        encoded = msgspec.json.encode(content)
        values = (unit, listing, _check_sum(encoded), encoded)
        self._sql.execute("INSERT OR REPLACE INTO units VALUES (?, ?, ?, ?)", values)

    def drop_unit(self, unit: str) -> None:
        """Forget a unit without files."""
        self._sql.execute("DELETE FROM units WHERE unit = ?", (unit,))

    def units(self) -> Iterator[tuple[str, Unit]]:
        """Every unit, in the order of their names; raises `DamagedIndex`."""
        rows = self._sql.execute("SELECT unit, check_sum, content FROM units ORDER BY unit")
        for unit, check_sum, content in rows:
            if not isinstance(content, bytes) or _check_sum(content) != check_sum:
                raise DamagedIndex(unit)
            yield unit, _DECODER.decode(content)

    def first_studies(self, new: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
        """For each patient the study that names it; `new` names those who have none yet."""
        self._sql.executemany("INSERT OR IGNORE INTO patients VALUES (?, ?)", new)
        return dict(self._sql.execute("SELECT patient, first_study FROM patients"))

    def _checked(self, sql: str, value: bytes | str) -> Iterator[Row]:
        """Rows of files, each as it was put there."""
        for folder, name, size, changed, unit, check_sum in self._sql.execute(sql, (value,)):
            row = (folder, name, size, changed, unit)
            if _row_sum(row) != check_sum:
                raise DamagedIndex(value)
            yield row


@contextmanager
def opened(path: Path | None) -> Iterator[Index]:
    """Open an index, or make it; None keeps it in memory.

    Raises `sqlite3.Error` when the file is damaged or cannot be opened, `DamagedIndex` when it is
    of another version.
    """
    if path is not None:
        with suppress(OSError):  # SQLite says it better
            path.touch(mode=0o600)
    sql = sqlite3.connect(path or ":memory:", timeout=_WAIT_S)
    try:
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = NORMAL")
        (version,) = sql.execute("PRAGMA user_version").fetchone()
        (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and not tables:
            sql.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise DamagedIndex(f"version {version}")
        yield Index(sql)
    finally:
        sql.close()


def remove(path: Path) -> None:
    """Throw an index away."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def listing_of(rows: Sequence[Row]) -> str:
    """Digest of files by path, size and time of change."""
    return listing_digest([row[:4] for row in rows])


def _check_sum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _row_sum(row: Row) -> int:
    return zlib.crc32(repr(row).encode())
