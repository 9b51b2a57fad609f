"""What SQLite says, as one sentence with a code that a run can act upon."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from medseg.errors import InputError, MedsegError, WriteError
from medseg_pipelines.batch.ledger.os_errors import DISK_FULL

BUSY_SECONDS = 60.0
"""How long one waits for another that writes."""

LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
"""Codes of SQLite that say that another writes."""

_CLOSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_LEAST_FREE = 1 << 20


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without what it adds for details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def sentence(error: sqlite3.Error, path: Path) -> MedsegError:
    """What SQLite raised, for the person at the screen."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_FULL or (
        code == sqlite3.SQLITE_IOERR and _free_bytes(path) < _LEAST_FREE
    ):
        return WriteError(
            f"the disk is full, so the ledger '{path}' was not written; free some space",
            code=DISK_FULL,
        )
    if code in LOCKED:
        return MedsegError(
            f"the ledger '{path}' was in use by another process for {BUSY_SECONDS:.0f} s; look for"
            " one that hangs, and run the same command again",
            code="LEDGER_BUSY",
        )
    if code in _CLOSED:
        return WriteError(
            f"the ledger '{path}' may not be written; choose another output folder",
            code="NO_PERMISSION",
        )
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return InputError(
            f"'{path}' is damaged or no ledger; move it away to start anew", code="LEDGER_DAMAGED"
        )
    return WriteError(f"the ledger '{path}' could not be used ({error})", code="LEDGER")


def _free_bytes(path: Path) -> int:
    try:
        figures = os.statvfs(path.parent)
    except (AttributeError, OSError):
        return _LEAST_FREE
    return figures.f_bavail * figures.f_frsize
