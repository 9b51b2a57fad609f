"""The Segment panel: a scan layer, a model, a device, Run; a Labels layer in the right place."""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from medseg.errors import MedsegError
from medseg_napari import overlays, views
from medseg_napari.jobs import Done, Event, Failed, Job, Progress, Stopped
from medseg_napari.panels.layer_combo import ImageLayerCombo
from medseg_napari.panels.progress_text import describe, duration
from medseg_napari.panels.segment_form import SegmentForm
from medseg_napari.segmentation import (
    DeviceChoice,
    Request,
    Runner,
    device_choices,
    doubt,
    file_of,
    installation_warning,
    model_words,
)

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from medseg.modelpack import ModelPackage

logger = logging.getLogger(__name__)


class SegmentPanel(QWidget):  # type: ignore[misc]
    """Segments the chosen Image layer in a worker thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        napari passes it.

    Attributes
    ----------
    form : SegmentForm
        The visible parts.
    runner : Runner
        What loads and runs the model.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.runner = Runner()
        self.form = SegmentForm(ImageLayerCombo(viewer.layers))
        self._job: Job | None = None
        self._started = 0.0
        self._latest: Progress | None = None
        QVBoxLayout(self).addWidget(self.form)
        self._connect()
        overlays.install(viewer)
        self._list_shipped_models()
        self._look_for_devices()
        self._welcome()

    def run(self) -> None:
        """Segment the chosen layer with the chosen model; at most one run at a time."""
        request = self._request()
        if request is None or self._job is not None:
            return
        self._job = Job(functools.partial(self.runner.run, request))
        self.destroyed.connect(self._job.cancel.set)
        self._started, self._latest = time.monotonic(), None
        self.form.show_running()
        self.form.say("starting")
        self._start_worker(self._job)

    def cancel(self) -> None:
        """Ask the running job to stop; it does after the tile it is at."""
        if self._job is not None:
            self._job.cancel.set()
            self.form.cancel.setEnabled(False)
            self.form.say("stopping after this tile")

    def add_model(self, folder: str | Path) -> None:
        """Offer the model package in `folder` and choose it."""
        from medseg.modelpack import find_package

        try:
            package = find_package(folder)
        except MedsegError as error:
            self.form.say(str(error), kind="error")
            return
        self._offer(package)
        self.form.model.setCurrentIndex(self.form.model.count() - 1)
        self.form.say("")

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop what runs and let go of the viewer."""
        self.cancel()
        self.form.scans.forget()
        super().closeEvent(event)

    def _connect(self) -> None:
        form = self.form
        form.run.clicked.connect(self.run)
        form.cancel.clicked.connect(self.cancel)
        form.browse.clicked.connect(self._browse)
        form.reopen.clicked.connect(self._reopen)
        form.scans.currentIndexChanged.connect(self._on_scan_chosen)
        form.model.currentIndexChanged.connect(self._on_model_chosen)
        for plane in views.PLANES:
            form.planes[plane].clicked.connect(functools.partial(self._show_plane, plane))
        form.planes["3-D"].clicked.connect(self._show_3d)

    def _start_worker(self, job: Job) -> None:
        from napari.qt.threading import create_worker

        worker = create_worker(job.events, _start_thread=False)
        worker.yielded.connect(self._on_event)
        worker.aborted.connect(self._on_aborted)
        worker.start()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._latest = event
            self.form.show_steps(event.done, event.total)
            self._tell_progress()
        elif isinstance(event, Done):
            self._finish(f"done in {duration(time.monotonic() - self._started)}")
            self._add_result(event.result)
        elif isinstance(event, Stopped):
            self._finish("stopped; nothing was added")
        elif isinstance(event, Failed):
            logger.error("%s\n%s", event.message, event.details)
            self._finish(event.message, kind="error")

    def _on_aborted(self) -> None:
        self.cancel()
        self._finish("stopped; nothing was added")

    def _tell_progress(self) -> None:
        if self._latest is not None and self._job is not None and not self._job.cancel.is_set():
            self.form.say(describe(self._latest, time.monotonic() - self._started))

    def _finish(self, words: str, *, kind: str = "info") -> None:
        self._job = None
        self.form.show_idle()
        self.form.say(words, kind=kind)

    def _add_result(self, layer_tuple: tuple[Any, dict[str, Any], str]) -> None:
        from napari.layers import Layer

        self.viewer.add_layer(Layer.create(*layer_tuple))

    def _request(self) -> Request | None:
        layer, package = self.form.scans.layer(), self.form.model.currentData()
        if layer is None:
            self.form.say("open a scan first, for example with File > Open Sample > medseg")
            return None
        if package is None:
            self.form.say("choose the folder of a model package first")
            return None
        data, attributes, _ = layer.as_layer_data_tuple()
        return Request(data, attributes, package, str(self.form.device.currentData()))

    def _list_shipped_models(self) -> None:
        from medseg.modelpack import shipped_packages

        try:
            for package in shipped_packages():
                self._offer(package)
        except MedsegError as error:
            self.form.say(str(error), kind="error")

    def _offer(self, package: ModelPackage) -> None:
        self.form.model.addItem(package.manifest.name, package)

    def _look_for_devices(self) -> None:
        """Name the devices without keeping the window waiting for torch to be imported."""
        from napari.qt.threading import create_worker

        self.form.device.addItem("the best there is", "auto")
        worker = create_worker(device_choices, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(self._on_devices)
        worker.start()

    def _on_devices(self, choices: list[DeviceChoice]) -> None:
        self.form.device.clear()
        for choice in choices:
            self.form.device.addItem(choice.words, choice.name)
        self.form.device.setToolTip("Where the model runs: " + choices[0].words)

    def _welcome(self) -> None:
        self._on_scan_chosen()
        warning = installation_warning()
        if warning:
            self.form.say(warning, kind="warning")

    def _on_scan_chosen(self, _row: int = -1) -> None:
        layer = self.form.scans.layer()
        words = _doubt(layer) if layer is not None else ""
        self.form.reopen.setVisible(bool(words) and bool(_file_of(layer)))
        if self._job is None:
            self.form.say(words, kind="warning" if words else "info")

    def _on_model_chosen(self, _row: int) -> None:
        package = self.form.model.currentData()
        self.form.about.setText(model_words(package) if package is not None else "")
        self.form.about.setVisible(package is not None)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model package")
        if folder:
            self.add_model(folder)

    def _reopen(self) -> None:
        path = _file_of(self.form.scans.layer())
        if path:
            self.viewer.open(path, plugin="medseg")

    def _show_plane(self, plane: str, _checked: bool = False) -> None:
        views.show_plane(self.viewer, plane)

    def _show_3d(self, _checked: bool = False) -> None:
        views.front_3d(self.viewer)


def _doubt(layer: Image) -> str:
    data, attributes, _ = layer.as_layer_data_tuple()
    return doubt(data, attributes)


def _file_of(layer: Image | None) -> str:
    return file_of(layer.source.path) if layer is not None else ""
