"""What the Study panel looks like; what it does is in :mod:`medseg_napari.panels.study`."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_napari.display.commands import PLANES
from medseg_napari.display.window_level import PRESETS
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.study_rows import Opening, Row

_TITLES = ("Kind", "Series", "mm", "Slices", "Verdict")
_WIDTHS = {0: 40, 2: 98, 3: 46, 4: 88}
AS_DICOM = "as DICOM asks"


class StudyForm(QWidget):  # type: ignore[misc]
    """The panel's parts.

    Attributes
    ----------
    browse, open, reopen, time_point : QPushButton
        Actions.
    place : QLabel
        What was looked into.
    table : QTableWidget
        One row for each series.
    detail : QLabel
        All that is known of the chosen series.
    opening : QComboBox
        How it is opened, where there is a choice.
    activity : JobWidget
        Bar, message and Cancel.
    planes : dict of str to QPushButton
        ``axial``, ``coronal``, ``sagittal`` and ``3-D``.
    window : QComboBox
        The presets; what is shown now stands on the canvas.
    neurological : QCheckBox
        Left and right the other way round.
    """

    def __init__(self) -> None:
        super().__init__()
        self.browse = QPushButton("Open folder...")
        self.browse.setToolTip("A folder of DICOM or other scans; or drop one onto this panel")
        self.open = QPushButton("Open series")
        self.reopen = QPushButton("Re-open with medseg")
        self.time_point = QPushButton("Time point as its own layer")
        self.place = _label("Drop a study folder here, or open one.")
        self.table = _table()
        self.detail = _label("")
        self.opening = QComboBox()
        self.opening.setToolTip("How the series is opened; the files are never changed")
        self.activity = JobWidget()
        self.planes = {name: QPushButton(name.title()) for name in (*PLANES, "3-D")}
        self.window = QComboBox()
        self.window.addItems([AS_DICOM, *PRESETS])
        self.window.setPlaceholderText("choose...")
        self.window.setCurrentIndex(-1)
        self.neurological = QCheckBox("Neurological: right on the right")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._lay_out()
        for part in (self.reopen, self.time_point):
            part.hide()
        self.show_openings(())
        self.open.setEnabled(False)

    def show_rows(self, rows: Sequence[Row], refused: Sequence[bool]) -> None:
        """Fill the table; refused series are grey."""
        self.table.setRowCount(len(rows))
        for line, (row, grey) in enumerate(zip(rows, refused, strict=True)):
            for column, text in enumerate(row):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                if grey:
                    item.setForeground(Qt.GlobalColor.gray)
                self.table.setItem(line, column, item)
        self.table.resizeRowsToContents()

    def show_openings(self, openings: Sequence[Opening]) -> None:
        """Offer ways to open; the choice shows where there is one to make."""
        self.opening.clear()
        for one in openings:
            self.opening.addItem(one.words, one)
        self.opening.setVisible(any(one.changes for one in openings))
        self.open.setEnabled(bool(openings))

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(_row(self.browse, self.place, stretch=1))
        column.addWidget(self.table, 1)
        for part in (self.detail, self.opening, self.open, self.activity, self.reopen):
            column.addWidget(part)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("View", _row(*self.planes.values()))
        form.addRow("Window", self.window)
        form.addRow("", self.neurological)
        column.addLayout(form)
        column.addWidget(self.time_point)


def _table() -> QTableWidget:
    table = QTableWidget(0, len(_TITLES))
    table.setHorizontalHeaderLabels(list(_TITLES))
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setShowGrid(False)
    table.setMinimumHeight(220)
    table.verticalHeader().hide()
    header = table.horizontalHeader()
    header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
    for column, width in _WIDTHS.items():
        table.setColumnWidth(column, width)
    return table


def _label(words: str) -> QLabel:
    label = QLabel(words)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def _row(*parts: QWidget, stretch: int = 0) -> QHBoxLayout:
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    for place, part in enumerate(parts):
        layout.addWidget(part, stretch if place else 0)
    return layout
