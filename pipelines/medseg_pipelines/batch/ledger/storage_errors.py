"""What the disk and SQLite refuse, as one sentence with a code that a run can act upon."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import InputError, MedsegError, WriteError

DISK_FULL = "DISK_FULL"
BUSY_SECONDS = 60.0
"""How long SQLite waits for another process that writes."""

_OS_FULL = {errno.ENOSPC, errno.EDQUOT}
_OS_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SQLITE_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_DENIED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_LEAST_FREE_BYTES = 1 << 20


@contextmanager
def as_write_error(output: Path) -> Iterator[None]:
    """Turn what the system says of an output folder into a `WriteError`.

    Raises `WriteError` ``DISK_FULL`` when there is no room, ``NO_PERMISSION`` when it may not be
    written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _OS_FULL:
            raise WriteError(
                f"the disk of '{output}' is full; free some space and run the same command again",
                code=DISK_FULL,
            ) from error
        code = "NO_PERMISSION" if error.errno in _OS_DENIED else "WRITE"
        reason = error.strerror or type(error).__name__
        raise WriteError(
            f"cannot write into '{output}': {reason}; choose another output folder", code=code
        ) from error


def sqlite_error(error: sqlite3.Error, path: Path) -> MedsegError:
    """What SQLite raised, for the person at the screen."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code, without details
    if code == sqlite3.SQLITE_FULL or (
        code == sqlite3.SQLITE_IOERR and _free_bytes(path) < _LEAST_FREE_BYTES
    ):
        return WriteError(
            f"the disk is full, so the ledger '{path}' was not written; free some space",
            code=DISK_FULL,
        )
    if code in _SQLITE_LOCKED:
        return MedsegError(
            f"the ledger '{path}' was in use by another process for {BUSY_SECONDS:.0f} s; look for"
            " one that hangs, and run the same command again",
            code="LEDGER_BUSY",
        )
    if code in _SQLITE_DENIED:
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
        return _LEAST_FREE_BYTES
    return figures.f_bavail * figures.f_frsize
