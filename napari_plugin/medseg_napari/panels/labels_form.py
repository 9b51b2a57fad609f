"""What the Labels panel looks like; what it does is in :mod:`medseg_napari.panels.labels`."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.layer_combo import LabelsLayerCombo
from medseg_napari.panels.organ_table import OrganTable

_COLORS = {"info": "", "warning": "color: #f0c000;", "error": "color: #ff6b6b;"}
_TIPS = {
    "Fill between slices": "Fill empty slices between drawn ones, across the shown plane",
    "Fill holes": "Give enclosed background to the organ",
    "Largest piece": "Remove all but the largest connected piece",
    "Smooth": "Round off the surface by the width beside it",
    "Grow": "Add connected voxels within the intensity range, as far as the distance beside it",
    "Limit to range": "Remove voxels outside the intensity range",
    "Split pieces": "Make the second largest piece an organ of its own",
    "Cut at two points": "Click two points of the organ; it is cut at the neck between them",
}


class LabelsForm(QWidget):  # type: ignore[misc]
    """The panel's parts.

    Parameters
    ----------
    layers : LabelsLayerCombo
        The choice of the Labels layer.

    Attributes
    ----------
    organs : OrganTable
        The list.
    buttons : dict of str to QPushButton
        Actions on the list and on the active organ, and the tools, by their words.
    activity : JobWidget
        Of a tool at work on a large label map; the panel shows it where it does not scroll away.
    message : QLabel
        What happened last; there too.
    """

    def __init__(self, layers: LabelsLayerCombo) -> None:
        super().__init__()
        self.layers = layers
        self.organs = OrganTable()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search organs")
        self.search.setClearButtonEnabled(True)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.activity = JobWidget()
        self.message = wrapped("")
        self.buttons: dict[str, QPushButton] = {}
        self._make_tools()
        self._lay_out()

    def say(self, words: str, *, kind: str = "info") -> None:
        """Put one sentence on the message line; `kind` is info, warning or error."""
        self.message.setStyleSheet(_COLORS[kind])
        self.message.setText(words)

    def show_opacity(self, opacity: float) -> None:
        """Move the slider without telling so; 0 is clear, 1 solid."""
        blocker = QSignalBlocker(self.opacity)
        self.opacity.setValue(round(opacity * 100))
        blocker.unblock()

    def _make_tools(self) -> None:
        self.radius = _millimetres(0.1, 100.0, 5.0)
        self.smooth_mm = _millimetres(0.1, 50.0, 2.0)
        self.grow_mm = _millimetres(0.5, 500.0, 10.0)
        self.low, self.high = _intensity(-200.0), _intensity(300.0)
        self.limited = QCheckBox("Only intensities")
        self.limited.setToolTip("The brush paints these intensities of the scan below alone")
        self.flat = QCheckBox("This slice only")
        self.flat.setToolTip("A disc in the shown slice instead of a ball")
        self.over = QCheckBox("Over other organs")
        self.over.setToolTip("Off, tools take background alone; locked organs never change")

    def _button(self, words: str, tip: str = "", *, toggles: bool = False) -> QPushButton:
        button = QPushButton(words)
        button.setToolTip(tip or _TIPS.get(words, ""))
        button.setCheckable(toggles)
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.setMinimumWidth(30)
        self.buttons[words] = button
        return button

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        new = self._button("New labels", "An empty layer on the voxels of the topmost scan")
        new.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        parts = (
            _wide(self.layers, new),
            self.search,
            self.organs,
            *self._list_actions(),
            _wide(QLabel("Opacity"), self.opacity),
            self._brush_box(),
            self._tool_box(),
        )
        for part in parts:
            column.addWidget(part, 1 if part is self.organs else 0)

    def _list_actions(self) -> tuple[QWidget, ...]:
        button = self._button
        return (
            row(
                button("Add", "Add an organ"),
                button("Remove", "Remove the organ and its voxels"),
                button("Colour...", "Choose the colour of the organ"),
                button("Solo", "Draw the active organ alone", toggles=True),
            ),
            row(
                button("< Slice", "The slice before that holds the organ"),
                button("Centre", "Go to the centre of the organ"),
                button("Slice >", "The next slice that holds the organ"),
                button("Undo", "Take the last change back (Ctrl+Z)"),
                button("Redo", "Do it again (Ctrl+Shift+Z)"),
            ),
        )

    def _brush_box(self) -> QWidget:
        box = QGroupBox("Brush")
        grid = QGridLayout(box)
        grid.setContentsMargins(6, 4, 6, 6)
        grid.addWidget(self._button("Paint", "Paint with the left button", toggles=True), 0, 0)
        grid.addWidget(self._button("Erase", "Erase with the left button", toggles=True), 0, 1)
        grid.addWidget(_wide(QLabel("Radius"), self.radius), 0, 2)
        grid.addWidget(self.flat, 1, 0, 1, 2)
        grid.addWidget(self.over, 1, 2)
        grid.addWidget(self.limited, 2, 0, 1, 2)
        grid.addWidget(
            self._button("Range from organ", "The intensities that the active organ has"), 2, 2
        )
        grid.addWidget(_wide(self.low, QLabel("to"), self.high), 3, 0, 1, 3)
        return box

    def _tool_box(self) -> QWidget:
        box = QGroupBox("Active organ")
        grid = QGridLayout(box)
        grid.setContentsMargins(6, 4, 6, 6)
        pairs = (
            (self._button("Smooth"), self.smooth_mm),
            (self._button("Grow"), self.grow_mm),
            (self._button("Fill between slices"), self._button("Fill holes")),
            (self._button("Largest piece"), self._button("Limit to range")),
            (self._button("Split pieces"), self._button("Cut at two points", toggles=True)),
        )
        for line, pair in enumerate(pairs):
            for place, part in enumerate(pair):
                grid.addWidget(part, line, place)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        return box


def row(*parts: QWidget) -> QWidget:
    """Parts beside each other, of equal width."""
    return _wide(*parts, equal=True)


def wrapped(words: str) -> QLabel:
    """A label that breaks its lines."""
    label = QLabel(words)
    label.setWordWrap(True)
    return label


def _wide(*parts: QWidget, equal: bool = False) -> QWidget:
    """Parts beside each other; labels and buttons keep their width."""
    line = QWidget()
    layout = QHBoxLayout(line)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for part in parts:
        layout.addWidget(part, 0 if isinstance(part, QLabel | QPushButton) and not equal else 1)
    return line


def _millimetres(low: float, high: float, value: float) -> QDoubleSpinBox:
    spin = _spin(low, high, value)
    spin.setDecimals(1)
    spin.setSuffix(" mm")
    return spin


def _intensity(value: float) -> QDoubleSpinBox:
    spin = _spin(-1e6, 1e6, value)
    spin.setDecimals(0)
    return spin


def _spin(low: float, high: float, value: float) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(low, high)
    spin.setValue(value)
    spin.setMinimumWidth(72)
    return spin
