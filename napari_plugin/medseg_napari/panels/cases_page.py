"""First page of the Train panel: edited layers become cases of a dataset."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLineEdit, QTableWidgetItem, QWidget

from medseg.errors import MedsegError
from medseg_napari.panels.form_parts import (
    button,
    column,
    growing_form,
    narrow_combo,
    plain_table,
    row,
    wrapped_label,
)
from medseg_napari.panels.header import header_of
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.training.cases import (
    AddRequest,
    add_case,
    case_rows,
    check_cases,
    report_text,
)

if TYPE_CHECKING:
    import napari.viewer

    from medseg.training import CaseRecord
    from medseg.training.dataset_check import DatasetReport

_STATUSES = ("reviewed", "draft", "raw")


class CasesPage(QWidget):  # type: ignore[misc]
    """Adds cases to the dataset of the panel, and shows what it holds."""

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.folder: Path | None = None
        self.header = header_of(viewer)
        self.scans, self.labels = self.header.scans, self.header.labels
        self.status = narrow_combo("Only reviewed cases are learnt from, unless you say otherwise")
        self.status.addItems(_STATUSES)
        self.name = QLineEdit()
        self.name.setPlaceholderText("automatic")
        self.name.setToolTip("Of the case: never a patient's name. Left empty it is a digest")
        self.add = button("Add to dataset", "Write scan and labels, on the scan's own grid")
        self.check = button("Check", "Read every case and tell what is wrong")
        self.table = plain_table("Case", "Status")
        self.table.setMinimumHeight(160)
        self.findings = wrapped_label()
        self.job = JobWidget("the writing or check of cases")
        self._lay_out()
        self._connect()

    def use(self, folder: Path | None) -> None:
        """Show the cases of a dataset."""
        self.folder = folder
        self.findings.setText("")
        self.refresh()

    def refresh(self) -> None:
        """Read the list of cases again."""
        rows: list[CaseRecord] = []
        try:
            rows = case_rows(self.folder) if self.folder is not None else []
        except MedsegError as error:
            self.job.show_message(str(error), kind="error")
        self.table.setRowCount(len(rows))
        for number, case in enumerate(rows):
            self.table.setItem(number, 0, QTableWidgetItem(case.name))
            self.table.setCellWidget(number, 1, self._status_combo(case))

    def add_layers(self) -> None:
        """Add the chosen scan and labels."""
        scan, labels = self.scans.layer(), self.labels.layer()
        if self.folder is None:
            self.job.show_message("choose the folder of the dataset first")
        elif scan is None or labels is None:
            self.job.show_message("open a scan and its labels first")
        else:
            request = AddRequest(
                self.folder,
                scan.as_layer_data_tuple()[:2],
                labels.as_layer_data_tuple()[:2],
                self.status.currentText(),
                self.name.text(),
            )
            self.job.start(functools.partial(add_case, request), self._on_added)

    def check_cases(self) -> None:
        """Read every reviewed case and show what is wrong."""
        if self.folder is None:
            self.job.show_message("choose the folder of the dataset first")
            return
        check = functools.partial(check_cases, self.folder, self.status.currentText())
        self.job.start(check, self._on_checked)

    def _lay_out(self) -> None:
        form = growing_form(
            ("Status", self.status),
            ("Name", self.name),
        )
        column(self, form, self.table, self.findings).addStretch(1)
        self.footer = QWidget()
        column(self.footer, row(self.add, self.check, equal=True), self.job)

    def _connect(self) -> None:
        self.add.clicked.connect(self.add_layers)
        self.check.clicked.connect(self.check_cases)
        self.table.cellDoubleClicked.connect(self._open_case)
        self.job.changed.connect(self._on_busy)

    def _on_busy(self, busy: bool) -> None:
        self.add.setEnabled(not busy)
        self.check.setEnabled(not busy)

    def _on_added(self, record: CaseRecord) -> None:
        self.name.clear()
        self.refresh()
        self.job.show_message(f"{record.name} is in the dataset as {record.status}")
        self.changed.emit()

    def _on_checked(self, report: DatasetReport) -> None:
        self.findings.setText(report_text(report))
        kind = "info" if report.trainable else "warning"
        self.job.show_message(
            "ready to train" if report.trainable else "not ready to train", kind=kind
        )

    def _status_combo(self, case: CaseRecord) -> QComboBox:
        combo = QComboBox()
        combo.addItems(_STATUSES)
        combo.setCurrentText(case.status)
        combo.currentTextChanged.connect(functools.partial(self._set_status, case.name))
        return combo

    def _set_status(self, name: str, status: Any) -> None:
        from medseg.training import CaseFolder

        if self.folder is None:
            return
        try:
            CaseFolder(self.folder).set_status(name, status)
        except MedsegError as error:
            self.job.show_message(str(error), kind="error")
            return
        self.job.show_message(f"{name} is {status}")
        self.changed.emit()

    def _open_case(self, number: int, _column: int) -> None:
        """Open scan and labels of a case, to look at or to correct them."""
        from medseg.training import CaseFolder

        item = self.table.item(number, 0)
        if self.folder is None or item is None:
            return
        for file in CaseFolder(self.folder).files(item.text()):
            self.viewer.open(str(file), plugin="medseg")
