"""The Export panel: what will be written is said before it is; where a label map came from."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog, QWidget

from medseg.errors import MedsegError, WriteError
from medseg.runtime.progress import Progress
from medseg_napari.export.collect import (
    Layer,
    provenance_of,
    scan_under,
    snapshot,
    stem_for,
    subject_of,
)
from medseg_napari.export.export import ExportPlan, Request, file_stem, plan_export, write_files
from medseg_napari.export.log_buffer import log_memory
from medseg_napari.panels.export_form import ExportForm
from medseg_napari.panels.form_parts import page, pause_timer
from medseg_napari.panels.header import header_of
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.run_record import bug_report, run_facts, runs_of, source_facts
from medseg_napari.workers import call_in_worker

if TYPE_CHECKING:
    import napari.viewer

_PAUSE_MS = 250  # without a change, before the preview is made anew
_SHORTEST_NAME = 3  # of a layer that a bug report hides

Preview = tuple[int, ExportPlan | str]


class ExportPanel(QWidget):  # type: ignore[misc]
    """Saves a Labels layer in any format, and tells how it came about."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        viewer = getattr(viewer, "__wrapped__", viewer)  # napari's proxy never is the same twice
        self.viewer = viewer
        self.header = header_of(viewer)
        self.form = ExportForm(self.header.labels)
        self.job = JobWidget("an export")
        self.plan: ExportPlan | None = None
        self.ask_folder: Callable[[str], str] = functools.partial(
            QFileDialog.getExistingDirectory, self
        )
        self._generation = 0
        self._stem = ""
        self._watched: Any = None
        self._pause = pause_timer(self, _PAUSE_MS, self._start_preview)
        self._lay_out()
        self._connect()
        self._on_labels_chosen()

    def export(self) -> None:
        """Write what is ticked, off the GUI thread."""
        labels, request = self._labels(), self._request()
        if labels is None or request is None or self.job.busy:
            return
        picture = self._screenshot() if "png" in request.formats else b""
        frozen, scan = snapshot(labels), self._scan(labels)

        def work(progress: Progress) -> tuple[ExportPlan, list[Path]]:
            progress(0, 1, "looking at the labels")
            subject = subject_of(frozen, scan, screenshot=picture)
            plan = plan_export(subject, request)
            if not plan.files:
                raise WriteError("; ".join(plan.refused) or "nothing is ticked")
            return plan, write_files(subject, plan, progress)

        self.job.start(work, self._on_written)

    def refresh(self) -> None:
        """Make the preview anew, a moment after the last change."""
        self.plan = None
        if not self.job.busy:
            self.job.show_message("")  # it was about what is chosen no longer
        self.form.export.setEnabled(False)
        self._pause.start()

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop what runs and let go of the viewer."""
        self.job.stop()
        self._pause.stop()
        self._watch(None)
        self.form.labels.currentIndexChanged.disconnect(self._on_labels_chosen)
        self.viewer.layers.events.inserted.disconnect(self._on_layers)
        self.viewer.layers.events.removed.disconnect(self._on_layers)
        super().closeEvent(event)

    def _lay_out(self) -> None:
        page(self, self.form, self.form.export, self.job)
        self.setMinimumWidth(320)

    def _connect(self) -> None:
        form = self.form
        for box in (*form.formats.values(), form.replace):
            box.toggled.connect(self.refresh)
        form.encoding.currentIndexChanged.connect(self.refresh)
        form.folder.textChanged.connect(self.refresh)
        form.stem.textChanged.connect(self.refresh)
        form.labels.currentIndexChanged.connect(self._on_labels_chosen)
        form.browse.clicked.connect(self._browse)
        form.export.clicked.connect(self.export)
        form.show_uids.toggled.connect(self._show_origin)
        form.copy_report.clicked.connect(self._copy_report)
        self.job.changed.connect(self._on_busy)
        self.viewer.layers.events.inserted.connect(self._on_layers)
        self.viewer.layers.events.removed.connect(self._on_layers)

    def _labels(self) -> Layer | None:
        layer = self.form.labels.layer()
        return _tuple_of(layer) if layer is not None else None

    def _images(self) -> list[Any]:
        from napari.layers import Image

        return [layer for layer in self.viewer.layers if isinstance(layer, Image)]

    def _scan(self, labels: Layer) -> Layer | None:
        """The Image layer under the labels; the form names it."""
        images = self._images()
        row = scan_under(labels, [_tuple_of(layer) for layer in images])
        self.form.scan.setText(
            "none on the grid of these labels is open" if row is None else images[row].name
        )
        return None if row is None else _tuple_of(images[row])

    def _request(self) -> Request | None:
        """What is asked for; None, and a sentence, when there is no folder."""
        typed = self.form.folder.text().strip()
        if not typed:
            return None
        return Request(
            formats=self.form.selected_formats(),
            folder=Path(typed).expanduser(),
            stem=file_stem(self.form.stem.text()),
            replace=self.form.replace.isChecked(),
            encoding=str(self.form.encoding.currentData()),
        )

    def _start_preview(self) -> None:
        labels, request = self._labels(), self._request()
        scan = self._scan(labels) if labels is not None else None
        if labels is None or request is None:
            missing = "Open or draw labels first." if labels is None else "Choose a folder."
            self.form.preview.setPlainText(missing)
            return
        self._generation += 1
        call_in_worker(_preview, self._generation, labels, scan, request, then=self._on_preview)

    def _on_preview(self, preview: Preview) -> None:
        generation, plan = preview
        if generation != self._generation or self._pause.isActive():
            return
        if isinstance(plan, str):
            self.form.preview.setPlainText(plan)
            return
        self.plan = plan
        self.form.show_plan(plan)
        self._on_busy(self.job.busy)

    def _on_busy(self, busy: bool) -> None:
        ready = self.plan is not None and bool(self.plan.files)
        self.form.export.setEnabled(ready and not busy)

    def _on_written(self, result: tuple[ExportPlan, list[Path]]) -> None:
        plan, written = result
        text = f"written: {len(written)} file" + ("" if len(written) == 1 else "s")
        text += f" in {plan.request.folder}"
        if plan.refused:
            text += f"; {len(plan.refused)} not possible, see above"
        self.job.show_message(text, kind="warning" if plan.refused else "info")
        self.form.show_written(written)

    def _on_layers(self, _event: Any = None) -> None:
        self.refresh()

    def _on_labels_chosen(self, _row: int = -1) -> None:
        labels = self._labels()
        self._watch(self.form.labels.layer())
        if labels is not None and self.form.stem.text() == self._stem:
            images = [_tuple_of(layer) for layer in self._images()]
            self._stem = stem_for(provenance_of(labels, images))
            self.form.stem.setText(self._stem)
        self._show_origin()
        self.refresh()

    def _watch(self, layer: Any) -> None:
        """Follow the painting of one layer."""
        if self._watched is not None:
            self._watched.events.labels_update.disconnect(self._on_layers)
        self._watched = layer
        if layer is not None:
            layer.events.labels_update.connect(self._on_layers)

    def _show_origin(self, _checked: bool = False) -> None:
        labels = self._labels()
        if labels is None:
            self.form.origin.setText("no labels are chosen")
            return
        images = [_tuple_of(layer) for layer in self._images()]
        provenance = provenance_of(labels, images)
        shown = source_facts(provenance, show_uids=self.form.show_uids.isChecked())
        self.form.show_facts(run_facts(runs_of(labels[1])) | shown)

    def _copy_report(self) -> None:
        names = [layer.name for layer in self.viewer.layers]
        hidden = [name for name in names if len(name) >= _SHORTEST_NAME]
        QGuiApplication.clipboard().setText(bug_report(log_memory.lines, hidden=hidden))
        self.job.show_message("copied: versions and the last log lines, without paths and names")

    def _browse(self) -> None:
        folder = self.ask_folder("Folder for the files")
        if folder:
            self.form.folder.setText(folder)

    def _screenshot(self) -> bytes:
        """A PNG of the canvas as it is."""
        from matplotlib.image import imsave

        content = io.BytesIO()
        imsave(content, self.viewer.screenshot(canvas_only=True, flash=False), format="png")
        return content.getvalue()


def _preview(generation: int, labels: Layer, scan: Layer | None, request: Request) -> Preview:
    """A plan, or why there is none; runs in a worker."""
    try:
        return generation, plan_export(subject_of(labels, scan), request)
    except MedsegError as error:
        return generation, str(error)


def _tuple_of(layer: Any) -> Layer:
    data, attributes, _ = layer.as_layer_data_tuple()
    return data, attributes
