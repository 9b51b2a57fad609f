"""Second page of the Train panel: starts, watches, stops and resumes runs, which outlive napari."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QWidget

from medseg.errors import MedsegError
from medseg.volume.label_table import MEAN
from medseg_napari.editing.saved_layers import mark_saved
from medseg_napari.panels.form_parts import column
from medseg_napari.panels.training_form import TrainingForm
from medseg_napari.training import model_list
from medseg_napari.training.cases import TRUTH, held_out_layers
from medseg_napari.training.process import (
    TrainRequest,
    last_error,
    last_run,
    resume_training,
    save_last_run,
    start_training,
)
from medseg_napari.training.run_texts import finished_text, status_text
from medseg_napari.workers import call_in_worker

if TYPE_CHECKING:
    import napari.viewer

    from medseg.training.run_status import RunStatus
    from medseg_napari.layers import LayerTuple

WATCH_EVERY_MS = 1000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class TrainingPage(QWidget):  # type: ignore[misc]
    """Trains on the dataset of the panel."""

    finished = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.dataset: Path | None = None
        self.run: Path | None = None
        self.status: RunStatus | None = None
        # for those who set them from Python: of the network, and a length in place of the time
        self.settings: tuple[str, ...] = ()
        self.steps: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reading = self._stopping = False
        self._samples = 0
        self.form = TrainingForm()
        self.job, self.footer = self.form.job, self.form.footer
        column(self, self.form)
        self._timer = QTimer(self)
        self._timer.setInterval(WATCH_EVERY_MS)
        self._connect()
        self._list_networks()
        self._show_buttons()
        last = last_run()
        if last is not None:
            self.attach(last)

    def train(self) -> None:
        """Start a run on the dataset."""
        if self.dataset is None:
            self.form.job.show_message("choose the folder of the dataset first")
            return
        self._spawn(functools.partial(start_training, self._request(self.dataset)))

    def resume(self) -> None:
        """Take up the run that was stopped."""
        if self.run is not None:
            self._spawn(functools.partial(resume_training, self.run), run=self.run)

    def stop(self) -> None:
        """Ask the run's process to save and end, whoever started it."""
        from medseg.training.run_status import stop_run

        if self.run is None:
            return
        try:
            stop_run(self.run)
        except MedsegError as error:
            self.form.job.show_message(str(error), kind="error")
            return
        self._stopping = True
        self.form.job.show_message("stopping after this step; the work is kept")

    def attach(self, run: Path) -> None:
        """Look at a run, whether this panel started it or not."""
        self.run, self.status = run, None
        self.form.run_label.setText(f"Run: {run.name}")
        self.form.run_label.setToolTip(str(run))
        self._show_buttons()
        self._timer.start()
        self.refresh()

    def refresh(self) -> None:
        """Read the run's folder, off the GUI thread."""
        if self.run is not None and not self._reading:
            self._reading = True
            call_in_worker(_read_status, self.run, then=self._on_status)

    def show_sample(self) -> None:
        """Open the next held-out case with its truth and what the model makes of it.

        While the run goes on, the case stays the same, to see the model get better.
        """
        if self.run is None:
            return
        work = functools.partial(held_out_layers, self.run, self._samples)
        self._samples += self.status is not None and self.status.phase == "finished"
        self.form.job.start(work, self._add_layers)

    def show_report(self) -> None:
        """Open the page about the run in the browser."""
        from medseg.workflows.run_report import REPORT

        page = (self.run or Path()) / REPORT
        if page.is_file():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(page.resolve())))
        else:
            self.form.job.show_message("no report is there yet; `medseg report` writes one")

    def release(self) -> None:
        """Stop watching; the run goes on."""
        self._timer.stop()
        self.form.job.stop()

    def _connect(self) -> None:
        form = self.form
        self._timer.timeout.connect(self.refresh)
        form.train.clicked.connect(self.train)
        form.stop.clicked.connect(self.stop)
        form.resume.clicked.connect(self.resume)
        form.attach.clicked.connect(self._ask_which)
        form.sample.clicked.connect(self.show_sample)
        form.report.clicked.connect(self.show_report)

    def _request(self, dataset: Path) -> TrainRequest:
        form = self.form
        package = form.start.package()
        name = form.name.text().strip()
        folder = _UNSAFE.sub("-", name or dataset.resolve().name)
        return TrainRequest(
            dataset=dataset,
            run=_free(dataset.resolve().parent / "runs" / folder),
            network=form.network.currentText(),
            minutes=None if self.steps else form.minutes.value(),
            steps=self.steps,
            name=name,
            fold=form.fold.value(),
            start="" if package is None else str(package.folder),
            status=str(form.cases.currentData()),
            settings=(*self.settings, *form.typed_settings()),
            device=form.device.name(),
        )

    def _spawn(self, start: Any, *, run: Path | None = None) -> None:
        target = run or (start.args[0].run if start.args else None)
        try:
            self._process, self._stopping = start(), False
        except MedsegError as error:
            self.form.job.show_message(str(error), kind="error")
            return
        if target is not None:
            self.form.job.show_message("started; it goes on when napari is closed")
            save_last_run(target)
            self.attach(target)

    def _on_status(self, status: RunStatus | str) -> None:
        self._reading = False
        if isinstance(status, str):
            self.form.job.show_message(status, kind="error")
            return
        if status.folder != self.run:
            return
        before, self.status = self.status, status
        self._show(status)
        if status.phase == "finished" and (before is None or before.phase != "finished"):
            self._offer_model(status)
        elif status.phase in ("absent", "stopped") and self._has_ended():
            self._show_end(status)

    def _show(self, status: RunStatus) -> None:
        dices = [
            (step, sum(row.values()) / len(row) if MEAN not in row else row[MEAN])
            for step, row in status.dice
            if row
        ]
        self.form.plot.show_curves(status.losses, dices, total_steps=status.total_steps)
        between = status.phase in ("absent", "stopped") and not self._has_ended()
        waiting = between and not self._stopping
        text = "starting" if waiting else status_text(status)
        self.form.state.setText(f"{text}\n{status.sides}".strip())
        self._show_buttons()

    def _has_ended(self) -> bool:
        """Whether no process of this panel is at the run."""
        return self._process is None or self._process.poll() is not None

    def _show_end(self, status: RunStatus) -> None:
        """Why a run stands still: asked to stop, or an error, in its own words."""
        text = last_error(status.folder)
        if text:
            self.form.job.show_message(text, kind="error")
        elif status.phase == "stopped":
            self.form.job.show_message("stopped; Resume goes on from the checkpoint")
        else:
            self.form.job.show_message(f"'{status.folder.name}' holds no run yet")
        self._timer.stop()

    def _offer_model(self, status: RunStatus) -> None:
        """Offer the finished model everywhere, with its score beside the one before."""
        self._timer.stop()
        try:
            package = model_list.add(status.folder)
        except MedsegError as error:
            self.form.job.show_message(str(error), kind="error")
            return
        text = finished_text(package.manifest.name, status, package.manifest.scores)
        self.form.state.setText(f"finished: {text}")
        self.form.job.show_message("")
        self.finished.emit(package)

    def _show_buttons(self) -> None:
        phase = self.status.phase if self.status is not None else "absent"
        starting = phase in ("absent", "stopped") and not self._has_ended()
        self.form.train.setEnabled(phase != "running" and not starting)
        self.form.stop.setEnabled(phase == "running")
        self.form.resume.setEnabled(phase == "stopped" and not starting)
        self.form.sample.setEnabled(phase in ("running", "stopped", "finished"))
        self.form.report.setEnabled(phase == "finished")

    def _add_layers(self, layer_tuples: list[LayerTuple]) -> None:
        from napari.layers import Layer

        names = {layer.name for layer in self.viewer.layers}
        for layer_tuple in layer_tuples:
            if layer_tuple[1]["name"] in names:
                continue
            layer = self.viewer.add_layer(Layer.create(*layer_tuple))
            if layer.name.endswith(TRUTH):
                layer.contour = 1  # an outline, with the model's labels filled below it
                mark_saved(layer.data, {"metadata": layer.metadata})

    def _list_networks(self) -> None:
        from medseg import networks

        self.form.network.addItems(networks.names())
        self.form.network.setCurrentText("unet")

    def _ask_which(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a run")
        if folder:
            save_last_run(Path(folder))
            self.attach(Path(folder))


def _read_status(run: Path) -> RunStatus | str:
    """The run as it is, or a sentence."""
    from medseg.training.run_status import run_status

    try:
        return run_status(run)
    except (MedsegError, OSError) as error:
        return str(error)


def _free(folder: Path) -> Path:
    """A run's folder that is not there yet."""
    number = 1
    free = folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
