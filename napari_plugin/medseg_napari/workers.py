"""Jobs and quick calls in a worker thread of napari, their results back on the GUI thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import QObject, Signal

from medseg.runtime.progress import Progress as ProgressCallback
from medseg_napari.jobs import Event, Job, Stopped, is_last


class JobRunner(QObject):  # type: ignore[misc]
    """Runs one job at a time; of a job that was stopped or replaced nothing is heard any more.

    `event` is emitted with each event of the job, the last one being Done, Stopped or Failed.
    """

    event = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.current: Job | None = None

    def start(
        self, work: Callable[[ProgressCallback], Any], *, progress_bar: str | None = None
    ) -> None:
        """Run `work` in place of a job that still runs; `progress_bar` names it in napari's own."""
        from napari.qt.threading import create_worker

        self.stop()
        self.current = job = Job(work)
        self.destroyed.connect(job.cancel.set)
        shown = {} if progress_bar is None else {"_progress": {"desc": progress_bar}}
        worker = create_worker(_events_of, job, _start_thread=False, **shown)
        worker.yielded.connect(self._on_event)
        worker.aborted.connect(self.stop)
        worker.start()

    def stop(self) -> None:
        """Stop the job, which is over at once; its thread ends with the step it is at."""
        job, self.current = self.current, None
        if job is not None:
            job.cancel.set()
            self.event.emit(Stopped())

    def _on_event(self, job_and_event: tuple[Job, Event]) -> None:
        job, event = job_and_event
        if job is not self.current:
            return
        if is_last(event):
            self.current = None
        self.event.emit(event)


def call_in_worker(
    function: Callable[..., Any],
    *arguments: object,
    then: Callable[[Any], None],
    ignore_errors: bool = False,
) -> None:
    """Call a function in a worker thread, and `then`, a method of a widget, with its result."""
    from napari.qt.threading import create_worker

    worker = create_worker(function, *arguments, _start_thread=False, _ignore_errors=ignore_errors)
    worker.returned.connect(then)
    worker.start()


def _events_of(job: Job) -> Iterator[tuple[Job, Event]]:
    for event in job.events():
        yield job, event
