"""What the Review panel looks like; what it does is in :mod:`medseg_napari.panels.review`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLineEdit, QPlainTextEdit, QWidget

from medseg_napari.layers import KEY
from medseg_napari.panels.form_parts import (
    button,
    column,
    fill_row,
    growing_form,
    number,
    plain_table,
    row,
    wrapped_label,
)
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
    """The panel's parts."""

    def __init__(self, first: LabelsLayerCombo, second: LabelsLayerCombo) -> None:
        super().__init__()
        self.first, self.second, self.job = first, second, JobWidget("a comparison")
        tip = "Distance within which surfaces count as equal (NSD)"
        self.tolerance_mm = number(0, 50, 1, unit="mm", tip=tip)
        self.tolerance_mm.setSingleStep(0.5)
        self.tolerance_mm.setDecimals(2)
        self.compare = button("Compare")
        self.resample = button("Resample B and compare")
        self.worst = button(
            "Worst slice", "Go to the slice on which most area differs; or double-click a row"
        )
        self.save = button("Save CSV...")
        self.table = plain_table(*_HEADER, tips=_TIPS)
        self.table.setFixedHeight(90)
        self.case = QLineEdit()
        self.case.setToolTip("Goes into the CSV: do not write a patient's name here")
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("Notes about this case (no patient names)")
        self.notes.setFixedHeight(70)
        self.legend = wrapped_label()
        self._lay_out()
        self.resample.hide()

    def notes_text(self) -> str:
        """The notes as one line."""
        return " ".join(str(self.notes.toPlainText()).split())

    def show_rows(self, result: Review) -> None:
        """Fill the table."""
        self.table.setRowCount(len(result.rows))
        for line, structure in enumerate(result.rows):
            fill_row(self.table, line, _cells(structure), (structure.name, *_TIPS[1:]))
        self.table.setFixedHeight(self._table_height())
        marks = (
            f'<span style="color: #{bytes(label.color).hex()}">\N{BLACK SQUARE}</span> {label.name}'
            for label in result.difference[1]["metadata"][KEY]["table"]
        )
        self.legend.setText("&nbsp; ".join(marks))

    def _table_height(self) -> int:
        lines = range(min(self.table.rowCount(), 14))
        rows: int = sum(self.table.rowHeight(line) for line in lines)
        header: int = self.table.horizontalHeader().height()
        return header + max(rows, 30) + 4

    def _lay_out(self) -> None:
        column(
            self,
            growing_form(
                ("A, reviewed", self.first),
                ("B, reference", self.second),
                ("Tolerance", self.tolerance_mm),
            ),
            self.table,
            self.legend,
            growing_form(("Case", self.case)),
            self.notes,
            self.save,
        ).addStretch(1)
        self.footer = QWidget()
        column(self.footer, self.resample, row(self.compare, self.worst, equal=True), self.job)


def _cells(structure: StructureComparison) -> tuple[str, ...]:
    return (
        structure.name,
        _decimal(structure.dice, 3),
        _decimal(structure.hd95_mm, 2),
        _decimal(structure.nsd, 3),
        _decimal(structure.volume_ml, 2),
        _decimal(structure.reference_volume_ml, 2),
    )


def _decimal(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
