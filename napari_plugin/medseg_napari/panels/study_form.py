"""What the Study panel looks like; what it does is in :mod:`medseg_napari.panels.study`."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from medseg_napari.panels.form_parts import (
    button,
    column,
    plain_table,
    row,
    tick,
    wrapped_label,
)
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.study_rows import Opening, Row

_TITLES = ("Kind", "Series", "mm", "Slices", "Verdict")
_WIDTHS = {0: 40, 2: 98, 3: 46, 4: 88}


class StudyForm(QWidget):  # type: ignore[misc]
    """The panel's parts."""

    def __init__(self) -> None:
        super().__init__()
        self.browse = button(
            "Open folder...", "A folder of DICOM or other scans; or drop one onto this panel"
        )
        self.open, self.reopen = button("Open series"), button("Re-open with medseg")
        self.time_point = button("Time point as its own layer")
        self.source = _plain_label("Drop a study folder here, or open one.")
        self.table = _table()
        self.detail = _plain_label("")
        self.opening = QComboBox()
        self.opening.setToolTip("How the series is opened; the files are never changed")
        self.job = JobWidget("the opening of a series")
        self.neurological = tick("Neurological: right on the right")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._lay_out()
        for part in (self.reopen, self.time_point):
            part.hide()
        self.show_openings(())
        self.open.setEnabled(False)

    def show_rows(self, rows: Sequence[Row], refused: Sequence[bool]) -> None:
        """Fill the table; refused series are grey."""
        self.table.setRowCount(len(rows))
        for line, (series, grey) in enumerate(zip(rows, refused, strict=True)):
            for position, text in enumerate(series):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                if grey:
                    item.setForeground(Qt.GlobalColor.gray)
                self.table.setItem(line, position, item)
        self.table.resizeRowsToContents()

    def show_openings(self, openings: Sequence[Opening]) -> None:
        """Offer ways to open; the choice shows where there is one to make."""
        self.opening.clear()
        for opening in openings:
            self.opening.addItem(opening.text, opening)
        self.opening.setVisible(any(opening.changes for opening in openings))
        self.open.setEnabled(bool(openings))

    def _lay_out(self) -> None:
        top = row(self.browse, self.source)
        parts = (top, self.table, self.detail, self.reopen, self.neurological, self.time_point)
        column(self, *parts).setStretch(1, 1)
        self.footer = QWidget()
        column(self.footer, self.opening, self.open, self.job)


def _table() -> QTableWidget:
    table = plain_table(*_TITLES, stretched=1)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    table.setMinimumHeight(220)
    for position, width in _WIDTHS.items():
        table.horizontalHeader().setSectionResizeMode(position, QHeaderView.ResizeMode.Interactive)
        table.setColumnWidth(position, width)
    return table


def _plain_label(text: str) -> QLabel:
    label = wrapped_label(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label
