"""What the page that trains looks like; what it does is in :mod:`.training_page`."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from medseg_napari.panels.curve_plot import CurvePlot
from medseg_napari.panels.device_combo import DeviceCombo
from medseg_napari.panels.form_parts import (
    button,
    growing_form,
    narrow_combo,
    row,
    wrapped_label,
)
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.model_combo import ModelCombo

_STATUSES = {"reviewed only": "reviewed", "drafts too": "draft", "all": "raw"}


class TrainingForm(QWidget):  # type: ignore[misc]
    """The page's parts.

    Attributes
    ----------
    start : ModelCombo
        Model to go on from, or none.
    network, cases : QComboBox
        Choices; item data of `cases` are statuses.
    device : DeviceCombo
        Where it trains.
    settings : QLineEdit
        Of the network, ``KEY=VALUE; KEY=VALUE``.
    minutes : QDoubleSpinBox
        Time for training.
    fold : QSpinBox
        Held out.
    name : QLineEdit
        Of the model and of the run's folder.
    train, stop, resume, attach, sample : QPushButton
        Actions.
    plot : CurvePlot
        Loss and Dice.
    run_words, state : QLabel
        Which run is looked at, and how it is.
    activity : JobWidget
        Of the held-out case; messages.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = ModelCombo("nothing (random weights)")
        self.start.setToolTip("Fine-tuning: weights, plan and labels of this model are taken over")
        self.network = narrow_combo("The architecture; a model to start from brings its own")
        self.cases = narrow_combo("Which cases are learnt from")
        for words, status in _STATUSES.items():
            self.cases.addItem(words, status)
        self.device = DeviceCombo("Where it trains; the process has it to itself")
        self.settings = QLineEdit()
        self.settings.setPlaceholderText("as planned; or KEY=VALUE; KEY=VALUE")
        self.settings.setToolTip("Settings of the network, as 'medseg train --set' takes them")
        self.minutes = _minutes()
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
        self.plot = CurvePlot()
        self.run_words, self.state = wrapped_label("no run yet"), wrapped_label()
        self.activity = JobWidget()
        self._lay_out()
        self.start.currentIndexChanged.connect(self._on_start)

    def typed_settings(self) -> tuple[str, ...]:
        """``KEY=VALUE`` of the network; none where a model to start from brings its own."""
        typed = self.settings.text().split(";") if self.settings.isEnabled() else []
        return tuple(word for one in typed if (word := one.strip()))

    def _on_start(self, _row: int) -> None:
        for part in (self.network, self.settings):
            part.setEnabled(self.start.package() is None)

    def _lay_out(self) -> None:
        form = growing_form()
        form.addRow("Start from", self.start)
        form.addRow("Network", self.network)
        form.addRow("Settings", self.settings)
        form.addRow("Device", self.device)
        form.addRow("Cases", self.cases)
        form.addRow("Time", self.minutes)
        form.addRow("Hold out fold", self.fold)
        form.addRow("Name", self.name)
        column = QVBoxLayout(self)
        column.addLayout(form)
        buttons = row(self.train, self.stop, self.resume, self.attach)
        for part in (buttons, self.run_words, self.plot, self.state, self.sample, self.activity):
            column.addWidget(part)
        column.addStretch(1)


def _minutes() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0.1, 60 * 24 * 7)
    box.setDecimals(1)
    box.setValue(20)
    box.setSuffix(" min")
    box.setToolTip("For training; validation comes on top")
    return box
