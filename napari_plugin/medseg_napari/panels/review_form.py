"""What the Review panel looks like; what it does is in :mod:`medseg_napari.panels.review`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_napari.panels.form_parts import growing_form, plain_table, row
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.layer_combo import LabelsLayerCombo
from medseg_napari.training.compare import Review

if TYPE_CHECKING:
    from medseg.metrics import StructureComparison

_HEADER = ("Structure", "Dice", "HD95\nmm", "NSD", "A\nml", "B\nml")
_TIPS = (
    "Matched by name; by value where no name is shared",
    "Twice the shared volume over the sum of both",
    "95th percentile Hausdorff distance of the surfaces",
    "Share of both surfaces within the tolerance",
    "Volume in A",
    "Volume in B",
)


class ReviewForm(QWidget):  # type: ignore[misc]
    """The panel's parts.

    Parameters
    ----------
    first, second : LabelsLayerCombo
        Choices of A and B.
    activity : JobWidget

    Attributes
    ----------
    tolerance_mm : QDoubleSpinBox
        Of the normalised surface Dice.
    compare, resample, worst, save : QPushButton
        Actions; `resample` shows only after different grids were refused.
    table : QTableWidget
        One row for each structure.
    case : QLineEdit
        What the case is called in the CSV.
    notes : QPlainTextEdit
        The person's words about it.
    """

    def __init__(
        self, first: LabelsLayerCombo, second: LabelsLayerCombo, activity: JobWidget
    ) -> None:
        super().__init__()
        self.first, self.second, self.activity = first, second, activity
        self.tolerance_mm = _millimetres()
        self.compare = QPushButton("Compare")
        self.resample = QPushButton("Resample B and compare")
        self.worst = QPushButton("Worst slice")
        self.worst.setToolTip("Go to the slice on which most area differs; or double-click a row")
        self.save = QPushButton("Save CSV...")
        self.table = _table()
        self.case = QLineEdit()
        self.case.setToolTip("Goes into the CSV: do not write a patient's name here")
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("Notes about this case (no patient names)")
        self.notes.setFixedHeight(70)
        self._lay_out()
        self.resample.hide()

    def words(self) -> str:
        """The notes as one line."""
        return " ".join(str(self.notes.toPlainText()).split())

    def show_rows(self, result: Review) -> None:
        """Fill the table."""
        self.table.setRowCount(len(result.rows))
        for number, one in enumerate(result.rows):
            for column, text in enumerate(_cells(one)):
                item = QTableWidgetItem(text)
                side = Qt.AlignmentFlag.AlignLeft if not column else Qt.AlignmentFlag.AlignRight
                item.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
                item.setToolTip(one.name if not column else _TIPS[column])
                self.table.setItem(number, column, item)
        self.table.setFixedHeight(self._table_height())

    def _table_height(self) -> int:
        rows: int = sum(
            self.table.rowHeight(number) for number in range(min(self.table.rowCount(), 14))
        )
        header: int = self.table.horizontalHeader().height()
        return header + max(rows, 30) + 4

    def _lay_out(self) -> None:
        form = growing_form()
        form.addRow("A, reviewed", self.first)
        form.addRow("B, reference", self.second)
        form.addRow("Tolerance", self.tolerance_mm)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        for part in (
            row(self.compare, self.worst),
            self.activity,
            self.resample,
            self.table,
            _legend(),
        ):
            column.addWidget(part)
        ending = growing_form()
        ending.addRow("Case", self.case)
        column.addLayout(ending)
        column.addWidget(self.notes)
        column.addWidget(self.save)
        column.addStretch(1)


def _cells(one: StructureComparison) -> tuple[str, ...]:
    return (
        one.name,
        _number(one.dice, 3),
        _number(one.hd95_mm, 2),
        _number(one.nsd, 3),
        _number(one.volume_ml, 2),
        _number(one.reference_volume_ml, 2),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _millimetres() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0.0, 50.0)
    box.setSingleStep(0.5)
    box.setValue(1.0)
    box.setSuffix(" mm")
    box.setToolTip("Distance within which surfaces count as equal (NSD)")
    return box


def _table() -> QTableWidget:
    table = plain_table(*_HEADER)
    for column, tip in enumerate(_TIPS):
        table.horizontalHeaderItem(column).setToolTip(tip)
    table.setFixedHeight(90)
    return table


def _legend() -> QWidget:
    from medseg.metrics.comparison import DIFFERENCES

    parts = []
    for label in DIFFERENCES:
        swatch = QPixmap(12, 12)
        swatch.fill(QColor(*label.color))
        picture, words = QLabel(), QLabel(label.name)
        picture.setPixmap(QIcon(swatch).pixmap(12, 12))
        parts += [picture, words]
    legend = row(*parts)
    legend.layout().addStretch(1)
    return legend
