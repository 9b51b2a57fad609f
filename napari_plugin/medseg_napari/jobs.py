"""Long work off the GUI thread, which never raises.

The work runs in a thread of its own, and whatever becomes of it arrives as one last event: `Done`,
`Stopped` or `Failed`. Nothing keeps a job that is over, nor what it worked on. The thread is waited
for when the program ends: one that is cut off inside of torch would abort the process.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import Cancelled, MedsegError
from medseg.runtime.progress import Progress as ProgressCallback


@dataclass(frozen=True)
class Progress:
    """Steps finished, steps in all, and what is being done."""

    done: int
    total: int
    message: str


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


Event = Progress | Partial | Done | Stopped | Failed


def is_last(event: Event) -> bool:
    """Whether no event of the job comes after this one."""
    return isinstance(event, Done | Stopped | Failed)


@dataclass(frozen=True, eq=False)
class Job:
    """Work that reports progress and can be stopped."""

    work: Callable[[ProgressCallback], Any]
    cancel: threading.Event = field(default_factory=threading.Event)
    _inbox: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue, init=False)

    def start(self) -> None:
        """Run the work in a thread."""
        threading.Thread(target=self._run, args=(self._inbox.put,), name="medseg job").start()

    def news(self) -> list[Event]:
        """What came since the last call, at last one `Done`, `Stopped` or `Failed`.

        After `cancel` nothing but `Stopped` comes, and at once.
        """
        if self.cancel.is_set():
            return [Stopped()]
        return [self._inbox.get() for _ in range(self._inbox.qsize())]

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
