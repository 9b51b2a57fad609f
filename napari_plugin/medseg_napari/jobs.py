"""Long work off the GUI thread, as a generator that never raises.

A worker that raises RuntimeError inside a generator would be swallowed by the worker class, and
running out of GPU memory is a RuntimeError. So the work runs in a thread of its own and whatever
becomes of it arrives as one last event: `Done`, `Stopped` or `Failed`.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import Cancelled, MedsegError
from medseg.runtime.progress import Progress as ProgressCallback

_HEARTBEAT_S = 0.1
_JOIN_TIMEOUT_S = 1.0
"""How long the end of a stopped job waits for its thread; later the thread ends on its own."""


@dataclass(frozen=True)
class Progress:
    """Steps finished, steps in all, and what is being done."""

    done: int
    total: int
    message: str


@dataclass(frozen=True)
class Alive:
    """Nothing new, but the work goes on; lets a waiting worker notice that it should end."""


@dataclass(frozen=True)
class Partial:
    """A first result, such as a preview; the work goes on."""

    result: Any


@dataclass(frozen=True)
class Done:
    """The work succeeded."""

    result: Any


@dataclass(frozen=True)
class Stopped:
    """The person asked to stop."""


@dataclass(frozen=True)
class Failed:
    """The work failed: a sentence for the person, and the traceback for a bug report."""

    message: str
    details: str


Event = Progress | Alive | Partial | Done | Stopped | Failed


def is_last(event: Event) -> bool:
    """Whether no event of the job comes after this one."""
    return isinstance(event, Done | Stopped | Failed)


@dataclass(frozen=True)
class Job:
    """Work that reports progress and can be stopped."""

    work: Callable[[ProgressCallback], Any]
    cancel: threading.Event = field(default_factory=threading.Event)

    def events(self) -> Iterator[Event]:
        """Run the work in a thread; yield its progress, then one `Done`, `Stopped` or `Failed`.

        Abandoning the iterator stops the work. After `cancel` nothing but `Stopped` comes.
        """
        inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        thread = threading.Thread(target=self._run, args=(inbox.put,), daemon=True)
        thread.start()
        try:
            while thread.is_alive() or not inbox.empty():
                event = self._next(inbox)
                yield event
                if is_last(event):
                    return
        finally:
            self.cancel.set()
            thread.join(_JOIN_TIMEOUT_S)

    def _next(self, inbox: queue.SimpleQueue[Event]) -> Event:
        try:
            event = inbox.get(timeout=_HEARTBEAT_S)
        except queue.Empty:
            event = Alive()
        return Stopped() if self.cancel.is_set() else event

    def _run(self, report: Callable[[Event], None]) -> None:
        try:
            report(Done(_last(self.work(self._progress(report)), report)))
        except Cancelled:
            report(Stopped())
        except BaseException as error:  # noqa: BLE001 - becomes the last event, shown in the panel
            report(Failed(explain(error), traceback.format_exc()))

    def _progress(self, report: Callable[[Event], None]) -> ProgressCallback:
        def progress(done: int, total: int, message: str, /) -> None:
            if self.cancel.is_set():
                raise Cancelled("stopped as asked")
            report(Progress(done, total, message))

        return progress


def _last(result: Any, report: Callable[[Event], None]) -> Any:
    """What the work returns; what a generator yields before is reported."""
    if not isinstance(result, Generator):
        return result
    while True:
        try:
            report(Partial(next(result)))
        except StopIteration as end:
            return end.value


def explain(error: BaseException) -> str:
    """One sentence for the screen, with what to try; medseg's errors already are one."""
    if isinstance(error, MedsegError):
        return str(error)
    said = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in said or "allocate memory" in said:
        return (
            "the device ran out of memory, also with smaller tiles; choose the CPU or a box of the"
            " scan, or close other programs and try again"
        )
    kind = type(error).__name__
    return f"the model stopped with {kind}: {error}; the log of napari holds the details"
