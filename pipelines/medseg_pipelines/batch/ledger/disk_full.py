"""A full disk: waited for, a little longer each time, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from medseg.errors import WriteError
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.ledger.storage_errors import DISK_FULL

Answer = TypeVar("Answer")
_FIRST_S, _LONGEST_S = 1.0, 60.0
_LOOK_S = 0.25


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
