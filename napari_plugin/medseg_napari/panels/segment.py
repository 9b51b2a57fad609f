"""The Segment panel: a scan layer, a model, a device, Run; labels in the right place, or not."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from medseg.errors import MedsegError
from medseg_napari.display import overlays
from medseg_napari.inference.devices import Forecast, rough_duration
from medseg_napari.inference.results import PendingResult, ResultLayers, check_target
from medseg_napari.inference.run import Outcome, Request, Runner
from medseg_napari.inference.warnings import installation_warning
from medseg_napari.jobs import Done, Event, Failed, Job, Partial, Progress, Stopped
from medseg_napari.panels.autosave import keeper_of
from medseg_napari.panels.estimate_runner import Forecaster
from medseg_napari.panels.restore_bar import RestoreBar
from medseg_napari.panels.segment_controller import SegmentChoices
from medseg_napari.panels.segment_form import SegmentForm
from medseg_napari.progress_text import describe

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Labels

logger = logging.getLogger(__name__)
_STOPPED = "stopped; nothing was added"


class SegmentPanel(QWidget):  # type: ignore[misc]
    """Segments the chosen Image layer in a worker thread.

    Attributes
    ----------
    form : SegmentForm
        The visible parts.
    choices : SegmentChoices
        What the person may choose, and has chosen.
    runner : Runner
        What loads and runs the model.
    placed : PendingResult or None
        The last result, while it is neither accepted nor rejected.
    keeper : AutosaveKeeper
        Keeps unsaved labels of the viewer; other panels have the same.
    restore : RestoreBar
        Offers those of a session that crashed.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        viewer = getattr(viewer, "__wrapped__", viewer)  # napari's proxy never is the same twice
        self.viewer = viewer
        self.runner = Runner()
        self.form = SegmentForm(viewer.layers)
        self.choices = SegmentChoices(self.form, viewer, self)
        self.placed: PendingResult | None = None
        self.keeper = keeper_of(viewer)
        self.restore = RestoreBar(viewer, self.keeper)
        self._placer = ResultLayers(viewer)
        self._forecaster = Forecaster(self)
        self._forecast: Forecast | None = None
        self._job: Job | None = None
        self._target: Labels | None = None
        self._started = 0.0
        self._latest: Progress | None = None
        self._lay_out()
        self._connect()
        overlays.install(viewer)
        self.choices.fill()
        warning = installation_warning()
        if warning:
            self.form.say(warning, kind="warning")
        self.restore.look()

    def run(self) -> None:
        """Segment the chosen layer with the chosen model; at most one run at a time."""
        if self._job is not None:
            return
        try:
            request = self._checked_request()
        except MedsegError as error:
            self.form.say(str(error), kind="error")
            return
        self.accept()
        self._forecaster.stop()
        self._job = Job(functools.partial(self.runner.run, request))
        self.destroyed.connect(self._job.cancel.set)
        self._started, self._latest = time.monotonic(), None
        self.form.show_running()
        self.form.say("starting")
        self._start_worker(self._job)

    def cancel(self) -> None:
        """Stop the running job: the panel is idle at once, the job ends with the tile it is at."""
        if self._job is None:
            return
        self._job.cancel.set()
        preview = self.placed is not None
        self._finish("stopped; the preview stays until you reject it" if preview else _STOPPED)

    def accept(self) -> None:
        """Keep the last result."""
        if self.placed is not None:
            self.placed = None
            self.form.show_question(visible=False)

    def reject(self) -> None:
        """Take the last result back, and stop what still refines it."""
        if self.placed is None:
            return
        self.cancel()
        placed, self.placed = self.placed, None
        self._placer.take_back(placed)
        self.form.show_question(visible=False)
        self.form.say("the result was taken back")

    def add_model(self, folder: str | Path) -> None:
        """Offer the model package in `folder` and choose it."""
        self.choices.add_model(folder)

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop what runs and let go of the viewer."""
        self.cancel()
        self._forecaster.stop()
        self.choices.forget()
        super().closeEvent(event)

    def _lay_out(self) -> None:
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setWidget(self.form)
        column = QVBoxLayout(self)
        column.addWidget(self.restore)
        column.addWidget(area)

    def _connect(self) -> None:
        form = self.form
        form.run.clicked.connect(self.run)
        form.cancel.clicked.connect(self.cancel)
        form.accept.clicked.connect(self._on_accept)
        form.reject.clicked.connect(self.reject)
        self.choices.changed.connect(self._look_ahead)
        self._forecaster.told.connect(self._on_forecast)
        self.restore.told.connect(lambda words, kind: form.say(words, kind=kind))

    def _start_worker(self, job: Job) -> None:
        from napari.qt.threading import create_worker

        worker = create_worker(_named_events, job, _start_thread=False)
        worker.yielded.connect(self._on_event)
        worker.aborted.connect(self.cancel)
        worker.start()

    def _on_event(self, named: tuple[Job, Event]) -> None:
        job, event = named
        if job is not self._job:
            return  # of a run that was stopped
        if isinstance(event, Progress):
            self._latest = event
            self.form.show_steps(event.done, event.total)
            self.form.say(describe(event, time.monotonic() - self._started))
        elif isinstance(event, Partial):
            self._place(event.result)
        elif isinstance(event, Done):
            self._finish(self._done_words(event.result))
            self._place(event.result)
            self.keeper.save()
        elif isinstance(event, Stopped):
            self._finish(_STOPPED)
        elif isinstance(event, Failed):
            logger.error("%s\n%s", event.message, event.details)
            self._finish(event.message, kind="error")

    def _done_words(self, outcome: Outcome) -> str:
        words = f"done in {rough_duration(time.monotonic() - self._started)}"
        if self._forecast is not None:
            words += f" (about {rough_duration(self._forecast.estimate.seconds)} expected)"
        return ". ".join((words, *outcome.notes))

    def _finish(self, words: str, *, kind: str = "info") -> None:
        self._job = None
        self.form.show_idle()
        self.form.say(words, kind=kind)

    def _place(self, outcome: Outcome) -> None:
        """Show a result, or a better one in the place of its preview, and ask about it."""
        try:
            if self.placed is not None:
                self.placed = self._placer.refine(self.placed, outcome)
            else:
                rule = self.form.rule.currentData()
                self.placed = self._placer.place(outcome, self._living_target(), rule)
        except MedsegError as error:
            self._finish(str(error), kind="error")
            return
        self.form.show_question(visible=True)

    def _living_target(self) -> Labels | None:
        """The layer to merge into, unless it was closed meanwhile."""
        return self._target if self._target in self.viewer.layers else None

    def _checked_request(self) -> Request:
        request = self.choices.request()
        self._target = self.form.target.layer()
        if self._target is not None:
            check_target(self._target, self.form.scans.layer())
        return request

    def _look_ahead(self) -> None:
        """Ask what the run would take that is chosen now."""
        self._forecast = None
        self.form.estimate.setText("")
        if self._job is not None:
            return
        try:
            self._forecaster.ask(self.runner, self.choices.request())
        except MedsegError:  # nothing to forecast yet; Run says what is missing
            self._forecaster.stop()

    def _on_forecast(self, forecast: Forecast | None) -> None:
        self._forecast = forecast
        self.form.estimate.setText("" if forecast is None else forecast.words)

    def _on_accept(self) -> None:
        self.accept()
        self.form.say("the result is kept")


def _named_events(job: Job) -> Iterator[tuple[Job, Event]]:
    for event in job.events():
        yield job, event
