"""The list of labels: shown, locked, colour and name, volume, slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from medseg_napari.panels.form_parts import swatch

if TYPE_CHECKING:
    from medseg.editing import LabelStatistics
    from medseg.volume import Label, LabelTable
    from medseg_napari.editing.label_tables import Visibility

SHOW, LOCK, NAME, VOLUME, SLICES = range(5)
_HEADS = ("Show", "Lock", "Organ", "ml", "Slices")
_TIPS = (
    "Draw this organ",
    "No tool changes a locked organ",
    "Double click to rename",
    "Volume in millilitres",
    "How many slices of the shown plane hold it",
)
_SWATCH_PX = 14
_OUTLINED = "QTableView::indicator:unchecked { border: 1px solid #7c838d; border-radius: 2px; }"
_VALUE_ROLE = Qt.ItemDataRole.UserRole


class LabelList(QTableWidget):  # type: ignore[misc]
    """Rows of labels; it only shows, and tells what the person did.

    Signals: `selected(value)`, `visibility_changed(value, yes)`, `lock_changed(value, yes)`,
    `renamed(value, name)`.
    """

    selected = Signal(int)
    visibility_changed = Signal(int, bool)
    lock_changed = Signal(int, bool)
    renamed = Signal(int, str)

    def __init__(self) -> None:
        super().__init__(0, len(_HEADS))
        self.setHorizontalHeaderLabels(_HEADS)
        for column, tip in enumerate(_TIPS):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self._lay_out()
        self.itemChanged.connect(self._on_changed)
        self.currentCellChanged.connect(self._on_current)

    def show_table(self, table: LabelTable, visibility: Visibility, value: int) -> None:
        """Fill the list; `value` is the active label."""
        blocker = QSignalBlocker(self)
        self.setRowCount(len(table))
        for row, label in enumerate(table):
            self._fill(row, label, visibility)
        blocker.unblock()
        self.select(value)

    def show_statistics(self, statistics: Mapping[int, LabelStatistics], axis: int) -> None:
        """Write volumes and slices."""
        blocker = QSignalBlocker(self)
        for row in range(self.rowCount()):
            label = statistics.get(self.value_at(row))
            self.item(row, VOLUME).setText(_millilitres(label.volume_ml) if label else "0")
            self.item(row, SLICES).setText(str(label.slices[axis]) if label else "0")
        blocker.unblock()

    def select(self, value: int) -> None:
        """Make the row of a label the current one, without telling so."""
        blocker = QSignalBlocker(self)
        row = self.row_of(value)
        self.setCurrentCell(row, NAME if row >= 0 else -1)
        blocker.unblock()
        self.viewport().update()

    def search(self, text: str) -> None:
        """Show the rows alone whose name holds all the words."""
        wanted = text.casefold().split()
        for row in range(self.rowCount()):
            name = self.item(row, NAME).text().casefold()
            self.setRowHidden(row, not all(word in name for word in wanted))

    def value_at(self, row: int) -> int:
        """The label value of a row."""
        return int(self.item(row, NAME).data(_VALUE_ROLE))

    def row_of(self, value: int) -> int:
        """The row of a label value, or -1."""
        rows = (row for row in range(self.rowCount()) if self.value_at(row) == value)
        return next(rows, -1)

    def current_value(self) -> int | None:
        """The active label, or None."""
        row = self.currentRow()
        return self.value_at(row) if row >= 0 else None

    def _lay_out(self) -> None:
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        header = self.horizontalHeader()
        for column in (SHOW, LOCK, VOLUME, SLICES):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(24)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)  # Tab leaves it; arrows move in it
        self.setAccessibleName("Organs")
        self.setStyleSheet(_OUTLINED)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(150)

    def _fill(self, row: int, label: Label, visibility: Visibility) -> None:
        name = QTableWidgetItem(label.name)
        name.setData(_VALUE_ROLE, label.value)
        name.setIcon(QIcon(swatch(label.color, _SWATCH_PX)))
        name.setToolTip(_about(label))
        self.setItem(row, SHOW, _tick(on=label.value not in visibility.hidden))
        self.setItem(row, LOCK, _tick(on=label.value in visibility.locked))
        self.setItem(row, NAME, name)
        for column in (VOLUME, SLICES):
            self.setItem(row, column, _number())

    def _on_changed(self, item: QTableWidgetItem) -> None:
        value, on = self.value_at(item.row()), item.checkState() == Qt.CheckState.Checked
        if item.column() == SHOW:
            self.visibility_changed.emit(value, on)
        elif item.column() == LOCK:
            self.lock_changed.emit(value, on)
        elif item.column() == NAME:
            self.renamed.emit(value, item.text().strip())

    def _on_current(self, row: int, _column: int, before: int, _before_column: int) -> None:
        if row >= 0 and row != before:
            self.selected.emit(self.value_at(row))


def _tick(*, on: bool) -> QTableWidgetItem:
    item = QTableWidgetItem()
    item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
    item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
    return item


def _number() -> QTableWidgetItem:
    item = QTableWidgetItem("")
    item.setFlags(Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled)
    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item


def _about(label: Label) -> str:
    code = f"\n{label.code.scheme} {label.code.value}: {label.code.meaning}" if label.code else ""
    return f"{label.name}\nvalue {label.value}{code}"


def _millilitres(volume_ml: float) -> str:
    digits = 0 if volume_ml >= 100 else 1 if volume_ml >= 1 else 2
    return f"{volume_ml:.{digits}f}"
