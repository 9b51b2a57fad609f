"""What a panel is doing: one job in the background, its bar, its words, and Cancel."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from medseg.runtime.progress import Progress as ProgressCallback
from medseg_napari.jobs import Done, Event, Failed, Job, Progress, Stopped
from medseg_napari.progress_text import describe

logger = logging.getLogger(__name__)
_COLORS = {"info": "", "warning": "color: #f0c000;", "error": "color: #ff6b6b;"}


class JobWidget(QWidget):  # type: ignore[misc]
    """Runs one job at a time in a worker thread and shows how it goes.

    Attributes
    ----------
    message : QLabel
        One sentence: what is being done, or what became of it.
    bar : QProgressBar
        Shown while a job runs.
    cancel : QPushButton
        Shown while a job runs; stops it at its next step.
    changed : Signal
        Emitted with True when a job starts, with False when it has ended.
    """

    changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.message = QLabel("")
        self.message.setWordWrap(True)
        self.bar = QProgressBar()
        self.cancel = QPushButton("Cancel")
        self._job: Job | None = None
        self._done: Callable[[Any], None] | None = None
        self._started = 0.0
        self._lay_out()
        self.cancel.clicked.connect(self.stop)

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._job is not None

    def start(self, work: Callable[[ProgressCallback], Any], done: Callable[[Any], None]) -> None:
        """Run `work` in the background, unless a job runs already.

        Parameters
        ----------
        work : callable
            Takes a `medseg.runtime.progress.Progress` and returns the result.
        done : callable
            Gets the result, on the GUI thread.
        """
        if self._job is not None:
            return
        self._job, self._done = Job(work), done
        self.destroyed.connect(self._job.cancel.set)
        self._started = time.monotonic()
        self._show_running(running=True)
        self.say("starting")
        self._start_worker(self._job)

    def stop(self) -> None:
        """Ask the running job to stop."""
        if self._job is not None:
            self._job.cancel.set()
            self.cancel.setEnabled(False)
            self.say("stopping")

    def say(self, words: str, *, kind: str = "info") -> None:
        """Put one sentence on the message line; `kind` is info, warning or error."""
        self.message.setStyleSheet(_COLORS[kind])
        self.message.setText(words)
        self.message.setVisible(bool(words))

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.message)
        self._show_running(running=False)

    def _show_running(self, *, running: bool) -> None:
        self.bar.setRange(0, 0)
        self.cancel.setEnabled(running)
        for part in (self.bar, self.cancel):
            part.setVisible(running)
        self.changed.emit(running)

    def _start_worker(self, job: Job) -> None:
        from napari.qt.threading import create_worker

        worker = create_worker(job.events, _start_thread=False)
        worker.yielded.connect(self._on_event)
        worker.aborted.connect(self._on_aborted)
        worker.start()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._show_step(event)
        elif isinstance(event, Done):
            done = self._done
            self._end("")
            if done is not None:
                done(event.result)
        elif isinstance(event, Stopped):
            self._end("stopped")
        elif isinstance(event, Failed):
            logger.error("%s\n%s", event.message, event.details)
            self._end(event.message, kind="error")

    def _show_step(self, event: Progress) -> None:
        if self._job is None or self._job.cancel.is_set():
            return
        self.bar.setRange(0, event.total if event.total > 1 else 0)
        self.bar.setValue(event.done)
        self.say(describe(event, time.monotonic() - self._started))

    def _on_aborted(self) -> None:
        self._end("stopped")

    def _end(self, words: str, *, kind: str = "info") -> None:
        self._job = self._done = None
        self.say(words, kind=kind)
        self._show_running(running=False)
