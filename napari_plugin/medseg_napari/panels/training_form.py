"""What the page that trains looks like; what it does is in :mod:`.training_page`."""

from __future__ import annotations

from qtpy.QtWidgets import QLineEdit, QSpinBox, QWidget

from medseg_napari.panels.curve_plot import CurvePlot
from medseg_napari.panels.device_combo import DeviceCombo
from medseg_napari.panels.form_parts import (
    button,
    column,
    growing_form,
    narrow_combo,
    number,
    row,
    wrapped_label,
)
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.model_combo import ModelCombo

_STATUSES = {"reviewed only": "reviewed", "drafts too": "draft", "all": "raw"}


class TrainingForm(QWidget):  # type: ignore[misc]
    """The page's parts."""

    def __init__(self) -> None:
        super().__init__()
        self.start = ModelCombo("nothing (random weights)")
        self.start.setToolTip("Fine-tuning: weights, plan and labels of this model are taken over")
        self.network = narrow_combo("The architecture; a model to start from brings its own")
        self.cases = narrow_combo("Which cases are learnt from")
        for text, status in _STATUSES.items():
            self.cases.addItem(text, status)
        self.device = DeviceCombo("Where it trains; the process has it to itself")
        self.settings = QLineEdit()
        self.settings.setPlaceholderText("as planned; or KEY=VALUE; KEY=VALUE")
        self.settings.setToolTip("Settings of the network, as 'medseg train --set' takes them")
        tip = "For training; validation comes on top"
        self.minutes = number(0.1, 60 * 24 * 7, 20, unit="min", tip=tip)
        self.fold = QSpinBox()
        self.fold.setRange(0, 4)
        self.fold.setToolTip("One fifth of the cases is held out and measured on: which fifth")
        self.name = QLineEdit()
        self.name.setPlaceholderText("name of the dataset")
        self.train = button("Train", "Start a process of its own, which outlives napari")
        self.stop = button("Stop", "Save a checkpoint and end after the current step")
        self.resume = button("Resume", "Go on from the checkpoint")
        self.attach = button("Open run...", "Look at a run that was started before or elsewhere")
        self.sample = button(
            "Show a held-out case",
            "Segment it with the model, or with the checkpoint of a run that goes on",
        )
        self.report = button("Report", "The page about a finished run: scores, pictures, plan")
        self.plot = CurvePlot()
        self.run_label, self.state = wrapped_label("no run yet"), wrapped_label()
        self.job = JobWidget("the segmentation of a held-out case")
        self._lay_out()
        self.start.currentIndexChanged.connect(self._on_start)

    def typed_settings(self) -> tuple[str, ...]:
        """``KEY=VALUE`` of the network; none where a model to start from brings its own."""
        typed = self.settings.text().split(";") if self.settings.isEnabled() else []
        return tuple(word for setting in typed if (word := setting.strip()))

    def _on_start(self, _row: int) -> None:
        for part in (self.network, self.settings):
            part.setEnabled(self.start.package() is None)

    def _lay_out(self) -> None:
        form = growing_form(
            ("Start from", self.start),
            ("Network", self.network),
            ("Settings", self.settings),
            ("Device", self.device),
            ("Cases", self.cases),
            ("Time", self.minutes),
            ("Hold out fold", self.fold),
            ("Name", self.name),
        )
        buttons = row(self.train, self.stop, self.resume, self.attach)
        finished = row(self.sample, self.report)
        column(self, form, self.run_label, self.plot, self.state, finished).addStretch(1)
        self.footer = QWidget()
        column(self.footer, buttons, self.job)
