"""What the Labels panel looks like; what it does is in :mod:`medseg_napari.panels.labels`."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QGroupBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSlider,
    QWidget,
)

from medseg_napari.panels.form_parts import button, column, number, row, tick
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.label_list import LabelList
from medseg_napari.panels.layer_combo import ActiveLayerCombo

_TIPS = {
    "Fill between slices": "Fill empty slices between drawn ones, across the shown plane",
    "Fill holes": "Give enclosed background to the organ",
    "Largest piece": "Remove all but the largest connected piece",
    "Smooth": "Round off bumps and gaps narrower than the number beside it; the volume stays",
    "Grow": "Add connected voxels within the intensity range, as far as the distance beside it",
    "Limit to range": "Remove voxels outside the intensity range",
    "Split pieces": "Make the second largest piece an organ of its own",
    "Cut at two points": "Click two points of the organ; it is cut at the neck between them",
}


class LabelsForm(QWidget):  # type: ignore[misc]
    """The panel's parts."""

    def __init__(self, layers: ActiveLayerCombo) -> None:
        super().__init__()
        self.layers = layers
        self.label_list = LabelList()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search organs")
        self.search.setClearButtonEnabled(True)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.job = JobWidget("a tool of the Labels tab")
        self.buttons: dict[str, QPushButton] = {}
        self._make_tools()
        self._lay_out()

    def show_opacity(self, opacity: float) -> None:
        """Move the slider without telling so; 0 is clear, 1 solid."""
        blocker = QSignalBlocker(self.opacity)
        self.opacity.setValue(round(opacity * 100))
        blocker.unblock()

    def _make_tools(self) -> None:
        self.radius = number(0.1, 100, 5, unit="mm")
        self.smooth_mm = number(0.1, 50, 1, unit="mm")
        self.grow_mm = number(0.5, 500, 10, unit="mm")
        self.low, self.high = number(-1e6, 1e6, -200), number(-1e6, 1e6, 300)
        tip = "The brush paints these intensities of the scan below alone"
        self.limited = tick("Only intensities", tip)
        self.flat = tick("This slice only", "A disc in the shown slice instead of a ball")
        tip = "Off, tools take background alone; locked organs never change"
        self.over = tick("Over other organs", tip)

    def _button(self, text: str, tip: str = "", *, toggles: bool = False) -> QPushButton:
        made = self.buttons[text] = button(text, tip or _TIPS.get(text, ""))
        made.setCheckable(toggles)
        made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        made.setMinimumWidth(30)
        return made

    def _lay_out(self) -> None:
        new = self._button("New labels", "An empty label map on the voxels of the scan")
        new.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        layout = column(
            self,
            row(self.search, new),
            self.label_list,
            *self._list_actions(),
            row(QLabel("Opacity"), self.opacity),
            self._brush_box(),
            self._tool_box(),
        )
        layout.setSpacing(6)
        layout.setStretch(layout.indexOf(self.label_list), 1)

    def _list_actions(self) -> tuple[QWidget, ...]:
        add = self._button
        return (
            row(
                add("Add", "Add an organ"),
                add("Remove", "Remove the organ and its voxels"),
                add("Colour...", "Choose the colour of the organ"),
                add("Solo", "Draw the active organ alone", toggles=True),
                equal=True,
            ),
            row(
                add("< Slice", "The slice before that holds the organ"),
                add("Centre", "Go to the centre of the organ"),
                add("Slice >", "The next slice that holds the organ"),
                add("Undo", "Take the last change back (Ctrl+Z)"),
                add("Redo", "Do it again (Ctrl+Shift+Z)"),
                equal=True,
            ),
        )

    def _brush_box(self) -> QWidget:
        box = QGroupBox("Brush")
        grid = QGridLayout(box)
        grid.setContentsMargins(6, 4, 6, 6)
        grid.addWidget(self._button("Paint", "Paint with the left button", toggles=True), 0, 0)
        grid.addWidget(self._button("Erase", "Erase with the left button", toggles=True), 0, 1)
        grid.addWidget(row(QLabel("Radius"), self.radius), 0, 2)
        grid.addWidget(self.flat, 1, 0, 1, 2)
        grid.addWidget(self.over, 1, 2)
        grid.addWidget(self.limited, 2, 0, 1, 2)
        grid.addWidget(
            self._button("Range from organ", "The intensities that the active organ has"), 2, 2
        )
        grid.addWidget(row(self.low, QLabel("to"), self.high), 3, 0, 1, 3)
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
            for position, part in enumerate(pair):
                grid.addWidget(part, line, position)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        return box
