"""What the Segment panel looks like; what it does is in :mod:`medseg_napari.panels.segment`."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from medseg_napari.panels.layer_combo import ImageLayerCombo
from medseg_napari.views import PLANES

_COLORS = {"info": "", "warning": "color: #f0c000;", "error": "color: #ff6b6b;"}


class SegmentForm(QWidget):  # type: ignore[misc]
    """The panel's parts.

    Parameters
    ----------
    scans : ImageLayerCombo
        The choice of the scan.

    Attributes
    ----------
    model, device : QComboBox
        Choices; their item data are packages and device names.
    browse, run, cancel, reopen : QPushButton
        Actions.
    planes : dict of str to QPushButton
        ``axial``, ``coronal``, ``sagittal`` and ``3-D``.
    about, message : QLabel
        On the model, and on what is going on.
    bar : QProgressBar
        Shown while a job runs.
    """

    def __init__(self, scans: ImageLayerCombo) -> None:
        super().__init__()
        self.scans = scans
        self.model = _narrow_combo("The model that segments")
        self.device = _narrow_combo("Where the model runs")
        self.browse = QPushButton("Folder...")
        self.browse.setToolTip("Add a model package of your own")
        self.run = QPushButton("Run")
        self.cancel = QPushButton("Cancel")
        self.reopen = QPushButton("Re-open with medseg")
        self.planes = {name: QPushButton(name.title()) for name in (*PLANES, "3-D")}
        self.about = _wrapped_label()
        self.message = _wrapped_label()
        self.bar = QProgressBar()
        self._lay_out()
        self.about.hide()
        self.reopen.hide()
        self.show_idle()

    def show_idle(self) -> None:
        """Ready for Run."""
        self.run.setEnabled(True)
        self.cancel.setEnabled(False)
        self.bar.hide()

    def show_running(self) -> None:
        """A job is on its way."""
        self.run.setEnabled(False)
        self.cancel.setEnabled(True)
        self.bar.setRange(0, 0)
        self.bar.show()

    def show_steps(self, done: int, total: int) -> None:
        """Move the progress bar; an unknown total shows a busy bar."""
        self.bar.setRange(0, total if total > 1 else 0)
        self.bar.setValue(done)

    def say(self, words: str, *, kind: str = "info") -> None:
        """Put one sentence on the message line; `kind` is info, warning or error."""
        self.message.setStyleSheet(_COLORS[kind])
        self.message.setText(words)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Scan", self.scans)
        form.addRow("View", _row(*self.planes.values()))
        form.addRow("Model", _row(self.model, self.browse))
        form.addRow("", self.about)
        form.addRow("Device", self.device)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        for part in (_row(self.run, self.cancel), self.bar, self.message, self.reopen):
            column.addWidget(part)
        column.addStretch(1)


def _narrow_combo(tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(12)
    return combo


def _wrapped_label() -> QLabel:
    label = QLabel("")
    label.setWordWrap(True)
    return label


def _row(*parts: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part, 1 if isinstance(part, QComboBox) else 0)
    return row
