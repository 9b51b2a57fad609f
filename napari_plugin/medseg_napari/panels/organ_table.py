"""The list of organs: shown, locked, colour and name, volume, slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

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


class OrganTable(QTableWidget):  # type: ignore[misc]
    """Rows of organs; it only shows, and tells what the person did.

    Signals: `chosen(value)`, `shown(value, yes)`, `locked(value, yes)`, `renamed(value, name)`.
    """

    chosen = Signal(int)
    shown = Signal(int, bool)
    locked = Signal(int, bool)
    renamed = Signal(int, str)

    def __init__(self) -> None:
        super().__init__(0, len(_HEADS))
        self.setHorizontalHeaderLabels(_HEADS)
        for column, tip in enumerate(_TIPS):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self._lay_out()
        self.itemChanged.connect(self._on_changed)
        self.currentCellChanged.connect(self._on_current)

    def show_table(self, table: LabelTable, shown: Visibility, value: int) -> None:
        """Fill the list; `value` is the active organ."""
        blocker = QSignalBlocker(self)
        self.setRowCount(len(table))
        for row, label in enumerate(table):
            self._fill(row, label, shown)
        blocker.unblock()
        self.choose(value)

    def show_statistics(self, statistics: Mapping[int, LabelStatistics], axis: int) -> None:
        """Write volumes and slices."""
        blocker = QSignalBlocker(self)
        for row in range(self.rowCount()):
            one = statistics.get(self.value_at(row))
            self.item(row, VOLUME).setText(_millilitres(one.volume_ml) if one else "0")
            self.item(row, SLICES).setText(str(one.slices[axis]) if one else "0")
        blocker.unblock()

    def choose(self, value: int) -> None:
        """Make the row of an organ the current one, without telling so."""
        blocker = QSignalBlocker(self)
        rows = [row for row in range(self.rowCount()) if self.value_at(row) == value]
        if rows:
            self.setCurrentCell(rows[0], NAME)
        else:
            self.setCurrentCell(-1, -1)
        blocker.unblock()
        self.viewport().update()

    def search(self, words: str) -> None:
        """Show the rows alone whose name holds all the words."""
        wanted = words.casefold().split()
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
        """The active organ, or None."""
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
        self.setStyleSheet(_OUTLINED)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(150)

    def _fill(self, row: int, label: Label, shown: Visibility) -> None:
        name = QTableWidgetItem(label.name)
        name.setData(_VALUE_ROLE, label.value)
        name.setIcon(_swatch(label.color))
        name.setToolTip(_about(label))
        self.setItem(row, SHOW, _tick(on=label.value not in shown.hidden))
        self.setItem(row, LOCK, _tick(on=label.value in shown.locked))
        self.setItem(row, NAME, name)
        for column in (VOLUME, SLICES):
            self.setItem(row, column, _number())

    def _on_changed(self, item: QTableWidgetItem) -> None:
        value, on = self.value_at(item.row()), item.checkState() == Qt.CheckState.Checked
        if item.column() == SHOW:
            self.shown.emit(value, on)
        elif item.column() == LOCK:
            self.locked.emit(value, on)
        elif item.column() == NAME:
            self.renamed.emit(value, item.text().strip())

    def _on_current(self, row: int, _column: int, before: int, _before_column: int) -> None:
        if row >= 0 and row != before:
            self.chosen.emit(self.value_at(row))


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


def _swatch(color: tuple[int, int, int]) -> QIcon:
    pixmap = QPixmap(_SWATCH_PX, _SWATCH_PX)
    pixmap.fill(QColor(*color))
    return QIcon(pixmap)


def _about(label: Label) -> str:
    code = f"\n{label.code.scheme} {label.code.value}: {label.code.meaning}" if label.code else ""
    return f"{label.name}\nvalue {label.value}{code}"


def _millilitres(volume_ml: float) -> str:
    return (
        f"{volume_ml:.0f}"
        if volume_ml >= 100
        else f"{volume_ml:.1f}"
        if volume_ml >= 1
        else f"{volume_ml:.2f}"
    )
