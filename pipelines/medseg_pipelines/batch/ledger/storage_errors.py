"""What the disk and SQLite refuse, as one sentence with a code; a full disk is waited for."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from medseg.errors import InputError, MedsegError, WriteError
from medseg_pipelines.batch.events import Events

DISK_FULL = "DISK_FULL"
BUSY_SECONDS = 60.0
"""How long SQLite waits for another process that writes."""

Answer = TypeVar("Answer")
_FIRST_S, _LONGEST_S = 1.0, 60.0
_LOOK_S = 0.25
_OS_FULL = {errno.ENOSPC, errno.EDQUOT}
_OS_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SQLITE_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_DENIED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_LEAST_FREE_BYTES = 1 << 20


def disk_full_error(output: Path) -> WriteError:
    """The disk of an output folder is full."""
    return WriteError(
        f"the disk of '{output}' is full; free some space and run the same command again",
        code=DISK_FULL,
    )


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
            raise disk_full_error(output) from error
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


class DiskFullWait:
    """Waits while a disk is full, at most `most_s` since the last thing that succeeded."""

    def __init__(self, most_s: float, events: Events) -> None:
        self._most_s, self._events = most_s, events
        self._since: float | None = None
        self._next = self._wait = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether it is too early to try again."""
        return time.monotonic() < self._next

    def full(self, error: WriteError) -> None:
        """The disk was full once more; raises `error` when it was waited for long enough."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._wait = now, _FIRST_S
            self._events.on_message(
                f"the disk is full: the run waits for room, at most {self._most_s:.0f} s, and then"
                " goes on"
            )
        if now - self._since >= self._most_s:
            raise error
        self._next = now + min(self._wait, self._most_s)
        self._wait = min(2 * self._wait, _LONGEST_S)

    def over(self) -> None:
        """Something was written."""
        if self._since is not None:
            self._events.on_message("there is room on the disk again")
        self._since, self._next = None, 0.0

    def wait_for_space(self, write: Callable[[], Answer]) -> Answer:
        """Call `write` again while it raises `WriteError` with code ``DISK_FULL``."""
        while True:
            try:
                return write()
            except WriteError as error:
                if error.code != DISK_FULL:
                    raise
                self.full(error)
            while self.is_waiting:
                self._events.check()
                time.sleep(_LOOK_S)
