"""Edit values, names, colours and codes of a label map in a table, and keep them as a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHeaderView,
    QStyledItemDelegate,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg.errors import MedsegError
from medseg.volume import LabelTable
from medseg_napari.editing.label_schema import (
    CATEGORIES,
    COLUMNS,
    read_schema,
    rows_of,
    table_of_rows,
    write_schema,
)
from medseg_napari.panels.form_parts import button, row, wrapped_label
from medseg_napari.panels.looks import message_color

_COLOUR = COLUMNS.index("Colour")
_CATEGORY = COLUMNS.index("Category")
_WIDTHS_PX = (42, 96, 64, 80, 54, 80, 80)
_HINT = (
    "Names, colours and codes of the chosen label map; they are saved with it. A code, such as SCT"
    " 10200004 'Liver', makes the segment of a DICOM SEG an anatomical structure; without one it is"
    " a tissue, unless another category is chosen."
)


class _Categories(QStyledItemDelegate):  # type: ignore[misc]
    """Offers DICOM's categories where a cell is edited."""

    def createEditor(self, parent: QWidget, *_about: object) -> QComboBox:  # noqa: N802 - Qt's name
        """A list; its first row is empty, which leaves the choice to the code."""
        box = QComboBox(parent)
        box.addItems(["", *(category.meaning for category in CATEGORIES)])
        return box


class SchemaEditor(QWidget):  # type: ignore[misc]
    """A table of text; `applied` carries the `LabelTable` that it makes."""

    applied = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.cells = QTableWidget(0, len(COLUMNS))
        self.cells.setHorizontalHeaderLabels(COLUMNS)
        self.cells.verticalHeader().hide()
        self.cells.setTabKeyNavigation(False)  # Tab leaves it; arrows move in it
        self.cells.setAccessibleName("Names and codes")
        self.cells.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.cells.horizontalHeader().setStretchLastSection(True)
        for column, width in enumerate(_WIDTHS_PX):
            self.cells.setColumnWidth(column, width)
        self.cells.setItemDelegateForColumn(_CATEGORY, _Categories(self.cells))
        self.message = wrapped_label()
        self.buttons = {
            name: button(name)
            for name in ("Add row", "Delete row", "Import...", "Export...", "Apply")
        }
        self.ask_open: Callable[[], str] = lambda: QFileDialog.getOpenFileName(
            self, "Label schema", "", "Label schema (*.json)"
        )[0]
        self.ask_save: Callable[[], str] = lambda: QFileDialog.getSaveFileName(
            self, "Label schema", "labels.json", "Label schema (*.json)"
        )[0]
        self._lay_out()
        self._connect()

    def show_table(self, table: LabelTable) -> None:
        """Fill the table from a label map's."""
        rows = rows_of(table)
        self.cells.setRowCount(len(rows))
        for number, cells in enumerate(rows):
            self._fill(number, cells)
        self.show_message("")

    def show_message(self, text: str, *, error: bool = False) -> None:
        """Put one sentence below the table."""
        self.message.setStyleSheet(f"color: {message_color('error')};" if error else "")
        self.message.setText(text)

    def table(self) -> LabelTable:
        """The label table that the cells make; raises `LabelError` naming the row otherwise."""
        return table_of_rows(
            [
                [self._text(number, column) for column in range(len(COLUMNS))]
                for number in range(self.cells.rowCount())
            ]
        )

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.addWidget(wrapped_label(_HINT))
        column.addWidget(self.cells, 1)
        names = list(self.buttons)
        column.addWidget(row(*(self.buttons[name] for name in names[:2]), equal=True))
        column.addWidget(row(*(self.buttons[name] for name in names[2:]), equal=True))
        column.addWidget(self.message)

    def _connect(self) -> None:
        actions = (self._add, self._delete, self._import, self._export, self._apply)
        for widget, action in zip(self.buttons.values(), actions, strict=True):
            widget.clicked.connect(lambda _checked=False, do=action: self._guarded(do))

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except MedsegError as error:
            self.show_message(str(error), error=True)

    def _add(self) -> None:
        values = [
            int(text)
            for number in range(self.cells.rowCount())
            if (text := self._text(number, 0)).isdecimal()
        ]
        value = max(values, default=0) + 1
        self.cells.setRowCount(self.cells.rowCount() + 1)
        fresh = rows_of(LabelTable.of({value: f"label {value}"}))[0]
        self._fill(self.cells.rowCount() - 1, fresh)
        self.cells.setCurrentCell(self.cells.rowCount() - 1, 1)

    def _delete(self) -> None:
        if self.cells.currentRow() >= 0:
            self.cells.removeRow(self.cells.currentRow())

    def _import(self) -> None:
        path = self.ask_open()
        if path:
            self.show_table(read_schema(Path(path)))
            self.show_message("read; Apply gives it to the label map")

    def _export(self) -> None:
        table = self.table()
        path = self.ask_save()
        if path:
            write_schema(table, Path(path))
            self.show_message(f"{len(table)} labels written to {Path(path).name}")

    def _apply(self) -> None:
        self.applied.emit(self.table())

    def _fill(self, number: int, cells: list[str]) -> None:
        for column, text in enumerate(cells):
            item = QTableWidgetItem(text)
            if column == _COLOUR:
                color = QColor(text)
                item.setBackground(color)
                item.setForeground(QColor("black" if color.lightness() > 110 else "white"))
            self.cells.setItem(number, column, item)

    def _text(self, number: int, column: int) -> str:
        item = self.cells.item(number, column)
        return "" if item is None else str(item.text()).strip()
