"""Jobs and quick calls in a thread, their results back on the GUI thread.

The GUI thread looks for news by a timer. napari's own workers are kept by its window as long as it
is open, and with them all that they worked on; and they end a program that closes meanwhile badly.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from medseg.runtime.progress import Progress as ProgressCallback
from medseg_napari.jobs import Done, Event, Failed, Job, Progress, Stopped, is_last

logger = logging.getLogger(__name__)
_LOOK_EVERY_MS = 20


class JobRunner(QObject):  # type: ignore[misc]
    """Runs one job at a time; of a job that was stopped or replaced nothing is heard any more.

    `event` is emitted with each event of the job, the last one being Done, Stopped or Failed.
    `what` names a job whose loss a person who closes the window would mind.
    """

    event = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.current: Job | None = None
        self.what = ""
        self._bar: Any = None
        self._timer = QTimer(self, interval=_LOOK_EVERY_MS)
        self._timer.timeout.connect(self._look)
        self._started: weakref.WeakSet[Job] = weakref.WeakSet()
        self.destroyed.connect(functools.partial(_cancel, self._started))

    def start(
        self, work: Callable[[ProgressCallback], Any], *, progress_bar: str | None = None
    ) -> None:
        """Run `work` in place of a job that still runs; `progress_bar` names it in napari's own."""
        self.stop()
        self.current = Job(work)
        self._started.add(self.current)
        if progress_bar is not None:
            from napari.utils import progress

            self._bar = progress(total=0, desc=progress_bar)
        self.current.start()
        self._timer.start()

    def stop(self) -> None:
        """Stop the job, which is over at once; its thread ends with the step it is at."""
        job = self.current
        if job is not None:
            job.cancel.set()
            self._end()
            self.event.emit(Stopped())

    def _look(self) -> None:
        """Tell what the job said since the last look."""
        job = self.current
        for event in job.news() if job is not None else ():
            if job is not self.current:
                return
            if is_last(event):
                self._end()
            self.event.emit(event)

    def _end(self) -> None:
        self.current = None
        self._timer.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


def call_in_worker(
    function: Callable[..., Any],
    *arguments: object,
    then: Callable[[Any], None],
    ignore_errors: bool = False,
) -> None:
    """Call a function in a thread, and `then`, a method of a QObject, with its result."""
    runner = JobRunner(then.__self__)  # type: ignore[attr-defined]
    runner.event.connect(functools.partial(_on_event, runner, then, ignore_errors))
    runner.start(lambda _progress: function(*arguments))


def _on_event(
    runner: JobRunner, then: Callable[[Any], None], ignore_errors: bool, event: Event
) -> None:
    if isinstance(event, Done):
        then(event.result)
    elif isinstance(event, Failed) and not ignore_errors:
        from napari.utils.notifications import show_error

        logger.error("%s\n%s", event.message, event.details)
        show_error(event.message)
    if not isinstance(event, Progress):
        runner.deleteLater()


def _cancel(jobs: weakref.WeakSet[Job], _runner: QObject | None = None) -> None:
    for job in list(jobs):
        job.cancel.set()
