"""What a person sees of a command, and how they stop it: lines, tables, progress, Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console as RichConsole
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from medseg.errors import Cancelled
from medseg.runtime.progress import Progress
from medseg.volume import Scan

_QUIET_SECONDS = 10.0
_WIDE = 160


class Console:
    """Where commands show what they do; the first Ctrl-C or SIGTERM stops them cleanly."""

    def __init__(self, rich: RichConsole | None = None) -> None:
        self.rich = rich or RichConsole(highlight=False)
        self.log = rich or RichConsole(highlight=False, stderr=True)
        for screen in (self.rich, self.log):
            if not screen.is_terminal:
                screen.width = max(screen.width, _WIDE)
        self.stopping = False

    def print(self, text: str, *, style: str | None = None) -> None:
        """Print a line as it is, without wrapping."""
        self.rich.print(text, style=style, markup=False, soft_wrap=True)

    def show(self, table: Table) -> None:
        """Print a table."""
        self.rich.print(table)

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """A bar with the time left, or a line on stderr now and then when it is no terminal."""
        if not self.rich.is_terminal:
            yield _Lines(self, title)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.rich, transient=True) as bars:
            yield _Bar(self, bars, title)

    @contextmanager
    def listening(self) -> Iterator[Console]:
        """Turn the first Ctrl-C or SIGTERM into a clean stop at the next step; gives the screen."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(kind, self._on_signal) for kind in kinds]
        try:
            yield self
        finally:
            for kind, handler in zip(kinds, before, strict=True):
                signal.signal(kind, handler)

    def check(self) -> None:
        """Raise `Cancelled` when the person has asked to stop."""
        if self.stopping:
            raise Cancelled("as asked, before anything was written")

    def _on_signal(self, kind: int, frame: FrameType | None) -> None:
        del kind, frame
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True
        os.write(2, b"\nmedseg: stopping after this step; once more to stop at once\n")


class _Bar:
    """Progress on a terminal; a new kind of work starts a new estimate."""

    def __init__(self, console: Console, bars: Bars, title: str) -> None:
        self._console, self._bars, self._title = console, bars, title
        self._task = bars.add_task(title, total=None)
        self._phase = ""

    def __call__(self, done: int, total: int, message: str, /) -> None:
        """Move the bar."""
        text = message or self._title
        if _phase(text) != self._phase:
            self._phase = _phase(text)
            self._bars.reset(self._task)
        self._bars.update(self._task, completed=done, total=total, description=text)
        self._console.check()

    def tell(self, sentence: str, /) -> None:
        """Print a sentence above the bar."""
        self._console.print(sentence)


class _Lines:
    """Progress in a log: one line every ten seconds."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._phase, self._first = "", 0
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int, message: str, /) -> None:
        """Print a line when the last one is old enough."""
        now = time.monotonic()
        text = message or self._title
        if _phase(text) != self._phase:
            self._phase, self._first, self._start = _phase(text), done, now
        if now - self._last >= _QUIET_SECONDS:
            self._last = now
            steps = done - self._first
            left = (now - self._start) * (total - done) / steps if steps else 0.0
            eta = f", about {duration(left)} left" if left else ""
            line = f"  {text}: {done}/{total}{eta}"
            self._console.log.print(line, markup=False, soft_wrap=True)
        self._console.check()

    def tell(self, sentence: str, /) -> None:
        """Print a sentence."""
        self._console.log.print(sentence, markup=False, soft_wrap=True)


def _phase(message: str) -> str:
    """The part of a message that stays the same during one kind of work."""
    return message.split(",", maxsplit=1)[0].rstrip("0123456789 ")


def duration(seconds: float) -> str:
    """Seconds for a person, such as ``"2 min 05 s"``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def describe(scan: Scan) -> str:
    """One line about a scan: modality, voxels, spacing."""
    if not scan.provenance.has_physical_size:
        size = " x ".join(str(n) for n in scan.grid.shape if n > 1)
        return f"{scan.modality or 'picture'}, {size} pixels of unknown size"
    size = " x ".join(str(n) for n in scan.grid.shape)
    spacing = " x ".join(f"{mm:.3g}" for mm in scan.grid.spacing_mm)
    return f"{scan.modality or 'unknown modality'}, {size} voxels of {spacing} mm"
