"""The Segment panel: a scan layer, a model, a device, Run; labels in the right place, or not."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from medseg.errors import MedsegError
from medseg_napari.display import overlays
from medseg_napari.inference.devices import Forecast
from medseg_napari.inference.results import (
    PendingResult,
    ResultLayers,
    check_target,
    is_untouched,
)
from medseg_napari.inference.run import Outcome, Request, Runner
from medseg_napari.inference.warnings import installation_warning
from medseg_napari.panels.autosave import autosave_of
from medseg_napari.panels.estimate_runner import EstimateRunner
from medseg_napari.panels.form_parts import column, page
from medseg_napari.panels.header import header_of
from medseg_napari.panels.restore_bar import RestoreBar
from medseg_napari.panels.segment_controller import SegmentController
from medseg_napari.panels.segment_form import SegmentForm
from medseg_napari.progress_text import duration

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Labels

_STOPPED = "stopped; nothing was added"
_SCAN_CLOSED = "the scan was closed, so its run was stopped; nothing was added"
_PREVIEW_STAYS = "stopped; the preview stays until you reject it"


class SegmentPanel(QWidget):  # type: ignore[misc]
    """Segments the chosen Image layer in a worker thread."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        viewer = getattr(viewer, "__wrapped__", viewer)  # napari's proxy never is the same twice
        self.viewer = viewer
        self.runner = Runner()
        self.header = header_of(viewer)
        self.form = SegmentForm(viewer.layers, self.header.scans)
        self.job = self.form.job
        self.controller = SegmentController(self.form, viewer, self)
        self.pending: PendingResult | None = None
        self.autosave = autosave_of(viewer)
        self.restore = RestoreBar(viewer, self.autosave)
        self._results = ResultLayers(viewer)
        self._estimate_runner = EstimateRunner(self)
        self._forecast: Forecast | None = None
        self._target: Labels | None = None
        self._scan: Image | None = None
        self._unanswered: PendingResult | None = None
        inside = QWidget()
        column(inside, self.restore, self.form)
        page(self, inside, self.form.footer)
        self._connect()
        overlays.install(viewer)
        self.controller.fill()
        warning = installation_warning()
        if warning:
            self.form.job.show_message(warning, kind="warning")
        self.restore.refresh()

    def run(self) -> None:
        """Segment the chosen layer with the chosen model; at most one run at a time."""
        job = self.form.job
        if job.busy:
            return
        try:
            request = self._checked_request()
        except MedsegError as error:
            job.show_message(str(error), kind="error")
            return
        self._unanswered, self.pending = self.pending, None
        self.form.show_question(visible=False)
        self._estimate_runner.stop()
        job.stopped_text = _STOPPED
        self._scan = self.form.scans.layer()
        work = functools.partial(self.runner.run, request)
        job.start(work, self._on_done, partial=self._show_result)

    def cancel(self) -> None:
        """Stop the running job: the panel is idle at once, the job ends with the tile it is at."""
        self.form.job.stop()

    def accept(self) -> None:
        """Keep the last result."""
        if self.pending is not None:
            self.pending = None
            self.form.show_question(visible=False)

    def reject(self) -> None:
        """Take the last result back, and stop what still refines it."""
        if self.pending is None:
            return
        self.cancel()
        pending, self.pending = self.pending, None
        self._results.undo(pending)
        self.form.show_question(visible=False)
        self.form.job.show_message("the result was taken back")

    def add_model(self, folder: str | Path) -> None:
        """Offer the model package in `folder` and choose it."""
        self.controller.add_model(folder)

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop what runs and let go of the viewer."""
        self.cancel()
        self._estimate_runner.stop()
        self.controller.forget()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        super().closeEvent(event)

    def _connect(self) -> None:
        form = self.form
        form.run.clicked.connect(self.run)
        form.accept.clicked.connect(self._on_accept)
        form.reject.clicked.connect(self.reject)
        self.controller.changed.connect(self._update_estimate)
        self.viewer.layers.events.removed.connect(self._on_removed)
        self._estimate_runner.estimated.connect(self._on_forecast)
        self.restore.message.connect(lambda text, kind: form.job.show_message(text, kind=kind))

    def _on_removed(self, event: Any) -> None:
        """A run ends with its scan."""
        if event.value is self._scan:
            self._scan = None
            if self.form.job.busy:
                self.form.job.stopped_text = _SCAN_CLOSED
                self.cancel()

    def _on_done(self, outcome: Outcome) -> None:
        self.form.job.show_message(self._done_text(outcome))
        self._show_result(outcome)
        self.autosave.save()

    def _done_text(self, outcome: Outcome) -> str:
        text = f"done in {duration(self.form.job.seconds())}"
        if self._forecast is not None:
            text += f" (about {duration(self._forecast.estimate.seconds)} expected)"
        return ". ".join((text, *outcome.notes))

    def _show_result(self, outcome: Outcome) -> None:
        """Show a result, or a better one in the place of its preview, and ask about it."""
        try:
            if self.pending is not None:
                self.pending = self._results.replace_preview(self.pending, outcome)
            else:
                self._drop_unanswered()
                rule = self.form.rule.currentData()
                self.pending = self._results.add(outcome, self._open_target(), rule)
        except MedsegError as error:
            self.form.job.stop()
            self.form.job.show_message(str(error), kind="error")
            return
        self.form.job.stopped_text = _PREVIEW_STAYS
        self.form.show_question(visible=True)

    def _drop_unanswered(self) -> None:
        """Let a new layer take the place of one with a result that nobody answered or touched."""
        before, self._unanswered = self._unanswered, None
        if before is None or before.rule is not None or self._target is not None:
            return
        if is_untouched(before):
            self._results.undo(before)

    def _open_target(self) -> Labels | None:
        """The layer to merge into, unless it was closed meanwhile."""
        return self._target if self._target in self.viewer.layers else None

    def _checked_request(self) -> Request:
        request = self.controller.request()
        self._target = self.form.target.layer()
        if self._target is not None:
            check_target(self._target, self.form.scans.layer())
        return request

    def _update_estimate(self) -> None:
        """Ask what the run would take that is chosen now."""
        self._forecast = None
        self.form.estimate.setText("")
        if self.form.job.busy:
            return
        try:
            self._estimate_runner.ask(self.runner, self.controller.request())
        except MedsegError:  # nothing to forecast yet; Run says what is missing
            self._estimate_runner.stop()

    def _on_forecast(self, forecast: Forecast | None) -> None:
        self._forecast = forecast
        self.form.estimate.setText("" if forecast is None else forecast.text)

    def _on_accept(self) -> None:
        self.accept()
        self.form.job.show_message("the result is kept")
