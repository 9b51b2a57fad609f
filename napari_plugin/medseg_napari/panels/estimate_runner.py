"""Asks, off the GUI thread, what the next run will take, when the options have come to rest."""

from __future__ import annotations

import functools
import logging

from qtpy.QtCore import QObject, Signal

from medseg_napari.inference.run import Request, Runner
from medseg_napari.jobs import Done, Event, Failed
from medseg_napari.panels.form_parts import pause_timer
from medseg_napari.workers import JobRunner

logger = logging.getLogger(__name__)
_PAUSE_MS = 400


class EstimateRunner(QObject):  # type: ignore[misc]
    """Emits `estimated` with a `medseg_napari.inference.devices.Forecast`, or None without one."""

    estimated = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._next: tuple[Runner, Request] | None = None
        self._jobs = JobRunner(self)
        self._jobs.event.connect(self._on_event)
        self._timer = pause_timer(self, _PAUSE_MS, self._start)

    def ask(self, runner: Runner, request: Request) -> None:
        """Forecast this request, unless another is asked for soon after."""
        self.stop()
        self._next = (runner, request)
        self._timer.start()

    def stop(self) -> None:
        """Forget what was asked for."""
        self._timer.stop()
        self._next = None
        self._jobs.stop()

    def _start(self) -> None:
        waiting, self._next = self._next, None
        if waiting is not None:
            runner, request = waiting
            self._jobs.start(functools.partial(runner.forecast, request))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Done):
            self.estimated.emit(event.result)
        elif isinstance(event, Failed):
            logger.info("no forecast: %s", event.message)
            self.estimated.emit(None)
