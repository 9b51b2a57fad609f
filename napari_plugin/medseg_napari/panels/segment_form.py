"""What the Segment panel looks like; what it does is in :mod:`medseg_napari.panels.segment`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from medseg_napari.display.commands import PLANES
from medseg_napari.panels.layer_combo import ImageLayerCombo, OptionalLayerCombo
from medseg_napari.panels.model_combo import ModelCombo

if TYPE_CHECKING:
    from napari.components import LayerList

_COLORS = {"info": "", "warning": "color: #f0c000;", "error": "color: #ff6b6b;"}
_CARD_HEIGHT = 220
_MOST_SLICES = 100_000
RULES = {
    "overwrite": "replace what is there",
    "only_empty": "only where nothing is",
    "keep_others": "keep labels of other names",
    "keep_edits": "keep what I edited",
}
"""Rules of merging, and how a person reads them."""


class SegmentForm(QWidget):  # type: ignore[misc]
    """The panel's parts.

    Attributes
    ----------
    scans : ImageLayerCombo
        The scan.
    boxes, target : OptionalLayerCombo
        Where to look, and where the result goes.
    model : ModelCombo
        The model.
    device, postprocessing, shown, rule : QComboBox
        Choices; their item data are what the library takes.
    first, last : QSpinBox
        Slices of the box; the lowest value of `last` stands for the end.
    preview, tta : QCheckBox
        Whether a preview comes first; whether to take the mean over mirror images.
    browse, draw, run, cancel, accept, reject, reopen, card_button, more : QPushButton
        Actions; the last two show what is folded away.
    planes : dict of str to QPushButton
        ``axial``, ``coronal``, ``sagittal`` and ``3-D``.
    about, estimate, message : QLabel
        On the model, on what a run will take, and on what is going on.
    card : QTextBrowser
        The whole model card.
    bar : QProgressBar
        Shown while a job runs.
    """

    def __init__(self, layers: LayerList) -> None:
        super().__init__()
        from napari.layers import Labels, Shapes

        self.scans = ImageLayerCombo(layers)
        self.boxes = OptionalLayerCombo(layers, Shapes, "the whole scan")
        self.target = OptionalLayerCombo(layers, Labels, "a new layer")
        self._make_choices()
        self._make_buttons()
        self.about, self.estimate, self.message = (_wrapped_label() for _ in range(3))
        self.card = QTextBrowser()
        self.card.setFixedHeight(_CARD_HEIGHT)
        self.card.setOpenLinks(False)
        self.bar = QProgressBar()
        self._lay_out()
        for part in (self.about, self.card, self.reopen, self.accept, self.reject):
            part.hide()
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

    def show_question(self, *, visible: bool) -> None:
        """Show or hide Accept and Reject."""
        self.accept.setVisible(visible)
        self.reject.setVisible(visible)

    def show_box(self, *, visible: bool) -> None:
        """Show or hide the choice of slices."""
        self._form.setRowVisible(self._slices, visible)

    def say(self, words: str, *, kind: str = "info") -> None:
        """Put one sentence on the message line; `kind` is info, warning or error."""
        self.message.setStyleSheet(_COLORS[kind])
        self.message.setText(words)

    def _make_choices(self) -> None:
        self.scans.setToolTip("The scan to segment")
        self.boxes.setToolTip("The whole scan, or the shapes of a layer that enclose a box of it")
        self.target.setToolTip("A new layer, or a Labels layer to merge the result into")
        self.model = ModelCombo()
        self.model.setToolTip("The model that segments")
        self.device = _narrow_combo("Where the model runs")
        self.postprocessing = _narrow_combo("Steps after the network, each with its usual settings")
        self.shown = _narrow_combo("A map of per cents to lay over the scan")
        self.rule = _narrow_combo("Which voxels of the layer may change")
        for name, words in RULES.items():
            self.rule.addItem(words, name)
        self.first, self.last = QSpinBox(), QSpinBox()
        self.first.setRange(0, _MOST_SLICES)
        self.last.setRange(-1, _MOST_SLICES)
        self.last.setSpecialValueText("the end")
        self.last.setValue(-1)
        self.tta = QCheckBox("Mean over mirror images")
        self.tta.setToolTip("Up to eight times slower, often a little better")
        self.preview = QCheckBox("Quick preview first")
        self.preview.setToolTip(
            "Show a coarse result as soon as there is one, then refine it in place; on large scans"
        )

    def _make_buttons(self) -> None:
        self.browse = _button("Folder...", "Add a model package of your own")
        self.draw = _button("Draw box", "Add a layer and draw a rectangle on the slice you see")
        self.run = _button("Run", "Segment the scan")
        self.cancel = _button("Cancel", "Stop at once; nothing is added")
        self.accept = _button("Accept", "Keep the result")
        self.reject = _button("Reject", "Take the result back; what you painted since stays")
        self.reopen = _button("Re-open with medseg", "Read the layer's file again, with its place")
        self.card_button = _fold("Model card")
        self.more = _fold("More choices")
        self.planes = {name: QPushButton(name.title()) for name in (*PLANES, "3-D")}

    def _lay_out(self) -> None:
        form = self._form = _form()
        form.addRow("Scan", self.scans)
        form.addRow("View", _row(*self.planes.values()))
        form.addRow("Model", _row(self.model, self.browse))
        form.addRow("", self.about)
        form.addRow("", self.card_button)
        form.addRow(self.card)
        form.addRow("Where", _row(self.boxes, self.draw))
        self._slices = _row(self.first, QLabel("to"), self.last)
        form.addRow("Slices", self._slices)
        form.addRow("Result", self.target)
        form.addRow("Merging", self.rule)
        form.addRow("Device", self.device)
        form.addRow("", self.estimate)
        form.addRow("", self.more)
        for name, part in (("Afterwards", self.postprocessing), ("Also show", self.shown)):
            form.addRow(name, part)
        form.addRow("", self.tta)
        form.addRow("", self.preview)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        asked = _row(self.accept, self.reject)
        for part in (_row(self.run, self.cancel), self.bar, self.message, asked, self.reopen):
            column.addWidget(part)
        column.addStretch(1)
        self._fold_away()

    def _fold_away(self) -> None:
        self.show_box(visible=False)
        self.card_button.toggled.connect(self.card.setVisible)
        self.more.toggled.connect(self._show_more)
        self._show_more(visible=False)
        self.target.currentIndexChanged.connect(self._on_target)
        self._on_target(0)

    def _show_more(self, visible: bool) -> None:
        for part in (self.postprocessing, self.shown, self.tta, self.preview):
            self._form.setRowVisible(part, visible)

    def _on_target(self, _row: int) -> None:
        self._form.setRowVisible(self.rule, self.target.layer() is not None)


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def _button(words: str, tip: str) -> QPushButton:
    button = QPushButton(words)
    button.setToolTip(tip)
    return button


def _fold(words: str) -> QPushButton:
    """A flat button that shows and hides something."""
    button = QPushButton(f"▸ {words}")
    button.setCheckable(True)
    button.setFlat(True)
    button.setStyleSheet("text-align: left; padding: 2px; background: transparent;")
    button.setCursor(Qt.CursorShape.PointingHandCursor)
    button.toggled.connect(lambda down: button.setText(f"{'▾' if down else '▸'} {words}"))
    return button


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
        layout.addWidget(part, 1 if isinstance(part, QComboBox | QSpinBox) else 0)
    return row
