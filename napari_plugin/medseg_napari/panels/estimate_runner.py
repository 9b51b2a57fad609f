"""Asks, off the GUI thread, what the next run will take, when the choices have come to rest."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from medseg_napari.inference.run import Request, Runner
from medseg_napari.jobs import Done, Failed, Job

logger = logging.getLogger(__name__)
_REST_MS = 400


class Forecaster(QObject):  # type: ignore[misc]
    """Tells what a run would take.

    Attributes
    ----------
    told : Signal
        Emitted with a `medseg_napari.inference.devices.Forecast`, or with None when there is none.
    """

    told = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._wanted: tuple[Runner, Request] | None = None
        self._job: Job | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._start)

    def ask(self, runner: Runner, request: Request) -> None:
        """Forecast this request, unless another is asked for soon after."""
        self.stop()
        self._wanted = (runner, request)
        self._timer.start()

    def stop(self) -> None:
        """Forget what was asked for."""
        self._timer.stop()
        self._wanted = None
        if self._job is not None:
            self._job.cancel.set()
            self._job = None

    def _start(self) -> None:
        from napari.qt.threading import create_worker

        if self._wanted is None:
            return
        runner, request = self._wanted
        self._job = Job(functools.partial(runner.forecast, request))
        self.destroyed.connect(self._job.cancel.set)
        worker = create_worker(_named_events, self._job, _start_thread=False)
        worker.yielded.connect(self._on_event)
        worker.start()

    def _on_event(self, named: tuple[Job, Any]) -> None:
        job, event = named
        if job is not self._job:
            return
        if isinstance(event, Done):
            self.told.emit(event.result)
        elif isinstance(event, Failed):
            logger.info("no forecast: %s", event.message)
            self.told.emit(None)


def _named_events(job: Job) -> Iterator[tuple[Job, Any]]:
    for event in job.events():
        yield job, event
