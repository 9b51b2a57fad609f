"""Second page of the Train panel: starts, watches, stops and resumes runs, which outlive napari."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from medseg.errors import MedsegError
from medseg_napari.panels.training_form import TrainingForm
from medseg_napari.training import model_list
from medseg_napari.training.cases import held_out_layers
from medseg_napari.training.process import (
    TrainRequest,
    last_words,
    remember_run,
    remembered_run,
    resume_training,
    start_training,
)
from medseg_napari.training.run_texts import score_words, state_words

if TYPE_CHECKING:
    import napari.viewer

    from medseg.training.run_status import RunStatus
    from medseg_napari.layers import LayerTuple

WATCH_EVERY_MS = 1000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class TrainingPage(QWidget):  # type: ignore[misc]
    """Trains on the dataset of the panel.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where a held-out case is shown.

    Attributes
    ----------
    dataset : Path or None
        Folder of the cases.
    run : Path or None
        The run that is looked at.
    view : RunStatus or None
        How it was a moment ago.
    settings : tuple of str
        ``KEY=VALUE`` of the network, for those who set them from Python.
    steps : int or None
        Length in place of the time, for those who set it from Python.
    finished : Signal
        Emitted with a model package when a run that is watched ends in one.
    """

    finished = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.dataset: Path | None = None
        self.run: Path | None = None
        self.view: RunStatus | None = None
        self.settings: tuple[str, ...] = ()
        self.steps: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._looking = self._stopping = False
        self._samples = 0
        self.form = TrainingForm()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)
        self._timer = QTimer(self)
        self._timer.setInterval(WATCH_EVERY_MS)
        self._connect()
        self._list_networks()
        self._show_buttons()
        last = remembered_run()
        if last is not None:
            self.attach(last)

    def train(self) -> None:
        """Start a run on the dataset."""
        if self.dataset is None:
            self.form.activity.say("choose the folder of the dataset first")
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
            self.form.activity.say(str(error), kind="error")
            return
        self._stopping = True
        self.form.activity.say("stopping after this step; the work is kept")

    def attach(self, run: Path) -> None:
        """Look at a run, whether this panel started it or not."""
        self.run, self.view = run, None
        self.form.run_words.setText(f"Run: {run.name}")
        self.form.run_words.setToolTip(str(run))
        self._show_buttons()
        self._timer.start()
        self.look()

    def look(self) -> None:
        """Read the run's folder, off the GUI thread."""
        from napari.qt.threading import create_worker

        if self.run is None or self._looking:
            return
        self._looking = True
        worker = create_worker(_look, self.run, _start_thread=False)
        worker.returned.connect(self._on_view)
        worker.start()

    def show_sample(self) -> None:
        """Open the next held-out case with its truth and what the model makes of it.

        While the run goes on, the case stays the same, to see the model get better.
        """
        if self.run is None:
            return
        work = functools.partial(held_out_layers, self.run, self._samples)
        self._samples += self.view is not None and self.view.phase == "finished"
        self.form.activity.start(work, self._add_layers)

    def let_go(self) -> None:
        """Stop watching; the run goes on."""
        self._timer.stop()
        self.form.activity.stop()

    def _connect(self) -> None:
        form = self.form
        self._timer.timeout.connect(self.look)
        form.train.clicked.connect(self._on_train)
        form.stop.clicked.connect(self._on_stop)
        form.resume.clicked.connect(self._on_resume)
        form.attach.clicked.connect(self._ask_which)
        form.sample.clicked.connect(self._on_sample)

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
            self.form.activity.say(str(error), kind="error")
            return
        if target is not None:
            self.form.activity.say("started; it goes on when napari is closed")
            remember_run(target)
            self.attach(target)

    def _on_view(self, found: RunStatus | str) -> None:
        self._looking = False
        if isinstance(found, str):
            self.form.activity.say(found, kind="error")
            return
        if found.folder != self.run:
            return
        before, self.view = self.view, found
        self._show(found)
        if found.phase == "finished" and (before is None or before.phase != "finished"):
            self._welcome(found)
        elif found.phase in ("absent", "stopped") and self._has_ended():
            self._tell_end(found)

    def _show(self, view: RunStatus) -> None:
        dices = [
            (step, sum(row.values()) / len(row) if "foreground" not in row else row["foreground"])
            for step, row in view.dice
            if row
        ]
        self.form.plot.show_curves(view.losses, dices, total_steps=view.total_steps)
        between = view.phase in ("absent", "stopped") and not self._has_ended()
        waiting = between and not self._stopping
        self.form.state.setText("starting" if waiting else state_words(view))
        self._show_buttons()

    def _has_ended(self) -> bool:
        """Whether no process of this panel is at the run."""
        return self._process is None or self._process.poll() is not None

    def _tell_end(self, view: RunStatus) -> None:
        """Why a run stands still: asked to stop, or an error, in its own words."""
        words = last_words(view.folder)
        if words:
            self.form.activity.say(words, kind="error")
        elif view.phase == "stopped":
            self.form.activity.say("stopped; Resume goes on from the checkpoint")
        else:
            self.form.activity.say(f"'{view.folder.name}' holds no run yet")
        self._timer.stop()

    def _welcome(self, view: RunStatus) -> None:
        """Offer the finished model everywhere, with its score beside the one before."""
        self._timer.stop()
        try:
            package = model_list.add(view.folder)
        except MedsegError as error:
            self.form.activity.say(str(error), kind="error")
            return
        words = score_words(package.manifest.name, view, package.manifest.scores)
        self.form.state.setText(f"finished: {words}")
        self.form.activity.say("")
        self.finished.emit(package)

    def _show_buttons(self) -> None:
        phase = self.view.phase if self.view is not None else "absent"
        starting = phase in ("absent", "stopped") and not self._has_ended()
        self.form.train.setEnabled(phase != "running" and not starting)
        self.form.stop.setEnabled(phase == "running")
        self.form.resume.setEnabled(phase == "stopped" and not starting)
        self.form.sample.setEnabled(phase in ("running", "stopped", "finished"))

    def _add_layers(self, made: list[LayerTuple]) -> None:
        from napari.layers import Layer

        there = {layer.name for layer in self.viewer.layers}
        for one in made:
            if one[1]["name"] not in there:
                self.viewer.add_layer(Layer.create(*one))

    def _list_networks(self) -> None:
        from medseg import networks

        self.form.network.addItems(networks.names())
        self.form.network.setCurrentText("unet")

    def _on_train(self, _checked: bool = False) -> None:
        self.train()

    def _on_stop(self, _checked: bool = False) -> None:
        self.stop()

    def _on_resume(self, _checked: bool = False) -> None:
        self.resume()

    def _on_sample(self, _checked: bool = False) -> None:
        self.show_sample()

    def _ask_which(self, _checked: bool = False) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a run")
        if folder:
            remember_run(Path(folder))
            self.attach(Path(folder))


def _look(run: Path) -> RunStatus | str:
    """The run as it is, or a sentence."""
    from medseg.training.run_status import run_status

    try:
        return run_status(run)
    except (MedsegError, OSError) as error:
        return str(error)


def _free(folder: Path) -> Path:
    """A run's folder that is not there yet."""
    number = 1
    chosen = folder
    while chosen.exists():
        number += 1
        chosen = folder.with_name(f"{folder.name}-{number}")
    return chosen
